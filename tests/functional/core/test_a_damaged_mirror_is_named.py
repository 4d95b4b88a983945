"""I10: of a mirror that a full disk or a crash left damaged, the folder and the cure are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import GitError
from guildnet.git import Mirror

if TYPE_CHECKING:
    from tests.functional.core.conftest import Remote


def empty_objects(mirror: Path) -> None:
    for file in (mirror / "objects").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(b"")


def garbage(name: str) -> Callable[[Path], None]:
    def damage(mirror: Path) -> None:
        (mirror / name).write_bytes(b"\x00\xff not git's\n")

    return damage


@pytest.mark.parametrize(
    "damage",
    [empty_objects, garbage("HEAD"), garbage("config")],
    ids=["emptied objects", "HEAD", "config"],
)
def test_reading_names_the_folder_and_what_to_do(
    remote: Remote, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    tip = remote.commit({"tasks/acme/a.yaml": "x"})
    folder = tmp_path / "mirror"
    with Mirror.open(str(remote.path), folder) as mirror:
        mirror.fetch(["main"])
    damage(folder)
    with pytest.raises(GitError) as found:
        read(str(remote.path), folder, tip)
    assert found.value.place == str(folder)
    assert "moved away while the service is stopped" in (found.value.cure or "")


def read(url: str, folder: Path, tip: str) -> None:
    with Mirror.open(url, folder) as mirror:
        mirror.fetch(["main"])
        mirror.log("main", limit=1)
        mirror.show(tip, "tasks/acme/a.yaml", max_bytes=1000)


def test_lost_objects_are_fetched_again(remote: Remote, tmp_path: Path) -> None:
    tip = remote.commit({"tasks/acme/a.yaml": "x"})
    folder = tmp_path / "mirror"
    read(str(remote.path), folder, tip)
    for file in (folder / "objects").rglob("*"):
        if file.is_file():
            file.unlink()
    read(str(remote.path), folder, tip)
