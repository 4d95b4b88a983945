"""What this machine keeps of an org's Talos cluster: `<state directory>/talos/<org>/`.

Every file is readable by its owner alone, from its first byte on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.state_folder import (
    lock_folder,
    private_folder,
    state_folder,
    write_private,
)


@dataclass(frozen=True, slots=True)
class TalosState:
    """The folder of one org."""

    root: Path

    @classmethod
    def of(cls, org: str, state_dir: Path | None = None) -> TalosState:
        """The org's folder in a state directory, by default in this machine's own."""
        return cls((state_dir or state_folder()) / "talos" / org)

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.yaml"

    @property
    def talosconfig(self) -> Path:
        return self.root / "talosconfig"

    @property
    def bootstrap(self) -> Path:
        """The note that a bootstrap was requested, and of which machine."""
        return self.root / "bootstrap.json"

    def machine(self, address: str) -> Path:
        """The rendered configuration of a machine."""
        return self.root / "machines" / f"{address.replace(':', '_')}.yaml"

    def home(self) -> Path:
        """A folder that stands in for the home of talosctl; made where it is missing."""
        return self._made(self.root / "home")

    def write(self, path: Path, content: bytes) -> None:
        """Write one of these files. Raises ConfigurationError."""
        self._made(path.parent)
        try:
            write_private(path, content)
        except OSError as error:
            raise ConfigurationError(f"cannot write: {error.strerror}", place=str(path)) from error

    @contextmanager
    def locked(self, wait: timedelta, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold the org's lock; wait that long for another process to finish, and report once
        through `waiting` which one it is.

        Raises ConfigurationError, naming the holder, when it does not finish.
        """
        self._made(self.root)
        deadline = time.monotonic() + wait.total_seconds()
        is_reported = False
        while True:
            try:
                lock = lock_folder(self.root, "talos")
                break
            except ConfigurationError as error:
                if time.monotonic() >= deadline:
                    raise
                if not is_reported:
                    waiting(error.message)
                is_reported = True
                time.sleep(0.2)
        try:
            yield
        finally:
            lock.close()

    def _made(self, folder: Path) -> Path:
        try:
            private_folder(folder)
        except OSError as error:
            raise ConfigurationError(
                f"cannot be made: {error.strerror}",
                place=str(folder),
                cure="Make the state folder writable, or set GUILDNET_STATE_DIR to another one.",
            ) from error
        return folder
