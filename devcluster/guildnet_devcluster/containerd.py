"""What a containerd holds and takes, asked by its own command line."""

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
        """The names of the images whose every byte is there and unpacked."""
        return set(self._ctr("images", "check", "--quiet").stdout.split())

    def import_archive(self, archive: Path) -> None:
        """Take the images of a docker-archive. Raises GuildNetError when it is refused."""
        done = self._ctr("images", "import", str(archive))
        if done.returncode != 0:
            raise GuildNetError(
                f"the node does not take the image: {done.stderr.strip()[-400:]}",
                place=str(archive),
                cure="give a docker-archive (docker save, or buildah push ... docker-archive:FILE)",
            )

    def forget(self, names: Collection[str]) -> None:
        """Delete images, and whatever no other image holds."""
        if names:
            self._ctr("images", "remove", "--sync", *names)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        ctr = [str(self.programs / "ctr"), "--address", str(self.socket), "--namespace", "k8s.io"]
        return subprocess.run([*ctr, *arguments], capture_output=True, check=False, text=True)
