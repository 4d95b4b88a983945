"""Lists, imports and removes the images of a containerd, through its `ctr` program."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import GuildNetError


@dataclass(frozen=True, slots=True)
class Containerd:
    """A containerd that listens on `socket`; `programs` is the folder with its `ctr`."""

    programs: Path
    socket: Path

    def is_answering(self) -> bool:
        return self._ctr("version").returncode == 0

    def images(self) -> set[str]:
        """The names of the images that are complete and unpacked."""
        return set(self._ctr("images", "check", "--quiet").stdout.split())

    def import_archive(self, archive: Path) -> None:
        """Import the images of a docker-archive. Raises GuildNetError if containerd rejects it."""
        done = self._ctr("images", "import", str(archive))
        if done.returncode != 0:
            raise GuildNetError(
                f"containerd rejected the archive: {done.stderr.strip()[-400:]}",
                place=str(archive),
                cure="Give a `docker save` archive, or use `buildah push ... docker-archive:FILE`.",
            )

    def remove(self, names: Collection[str]) -> None:
        """Delete images, and the layers that no other image uses."""
        if names:
            self._ctr("images", "remove", "--sync", *names)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        ctr = [str(self.programs / "ctr"), "--address", str(self.socket), "--namespace", "k8s.io"]
        return subprocess.run([*ctr, *arguments], capture_output=True, check=False, text=True)
