"""The folder of kubeconfigs, watched: a rotated credential is used without a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from watchfiles import awatch

from guildnet.secret_files import FileStamp, file_stamp
from guildnet.state_folder import make_private

SUFFIX = ".config"


def stamps(folder: Path) -> dict[str, FileStamp | None]:
    """The stamp of each kubeconfig, by its name."""
    return {path.name.removesuffix(SUFFIX): file_stamp(path) for path in folder.glob(f"*{SUFFIX}")}


async def watch(folder: Path, changed: Callable[[set[str]], None]) -> None:
    """Call `changed` with the names of kubeconfigs that were added, replaced or removed.

    All stamps are compared at each event: in a mounted volume, the kubelet replaces a link to
    the folder with the files, and no file itself. The folder is created when missing.
    """
    make_private(folder)
    known = stamps(folder)
    async for _ in awatch(folder, recursive=False):
        found = stamps(folder)
        names = {name for name in known.keys() | found if known.get(name) != found.get(name)}
        known = found
        if names:
            changed(names)
