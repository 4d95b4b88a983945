"""One demo at a time on a machine: a lock while it runs, and a note while it is kept running."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.state_folder import make_private, open_private
from guildnet_demo.environment import services_in
from guildnet_devcluster import processes


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the lock of the demo in `folder`; the kernel releases it when the process exits.

    Raises ConfigurationError if another process holds it.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    make_private(lock.parent)
    with open(lock, "w", opener=open_private) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                "another `guildnet demo` is running",
                place=str(folder),
                cure="Wait until it finishes, or stop it with Ctrl-C.",
            ) from error
        yield


def note_kept(folder: Path, addresses: Mapping[str, str]) -> None:
    """Record that the demo in `folder` was left running on purpose."""
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder).write_text(json.dumps(dict(addresses), indent=1))


def refuse_while_kept(folder: Path) -> None:
    """Raises ConfigurationError, with the addresses, if a kept demo is still running.

    A demo whose processes are gone (killed, or the machine rebooted) does not count.
    """
    try:
        addresses = json.loads(_note(folder).read_text())
    except FileNotFoundError:
        return
    if any(process.is_alive for process in processes.recorded(services_in(folder))):
        listing = "".join(f"\n  {name}: {address}" for name, address in addresses.items())
        raise ConfigurationError(
            f"a demo started with --keep is still running{listing}",
            place="demo",
            cure="Stop it with `guildnet demo --down`, then run again.",
        )


def _note(folder: Path) -> Path:
    return folder / "kept.json"
