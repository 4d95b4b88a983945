"""One demo at a time on a machine: alone while it is told, and noted while it is kept."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet_cli.demo.surroundings import services_in
from guildnet_devcluster import processes


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While it lasts no other command works on the demo in `folder`.

    Raises ConfigurationError where one does. The kernel drops the lock with its holder.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                "another `guildnet demo` is at work",
                place=str(folder),
                cure="Wait for its end, or end it with Ctrl-C.",
            ) from error
        yield


def note_kept(folder: Path, addresses: Mapping[str, str]) -> None:
    """Say that what runs in `folder` is meant to go on."""
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder).write_text(json.dumps(dict(addresses), indent=1))


def refuse_while_kept(folder: Path) -> None:
    """Raises ConfigurationError, with its addresses, while a demo that was kept runs.

    One that was killed, or did not outlive a reboot, is no reason.
    """
    try:
        addresses = json.loads(_note(folder).read_text())
    except FileNotFoundError:
        return
    if any(process.is_alive for process in processes.recorded(services_in(folder))):
        places = "".join(f"\n  {name}: {address}" for name, address in addresses.items())
        raise ConfigurationError(
            f"a demo that was kept is still running{places}",
            place="demo",
            cure="End it with `guildnet demo --down`, then run again.",
        )


def _note(folder: Path) -> Path:
    return folder / "kept.json"
