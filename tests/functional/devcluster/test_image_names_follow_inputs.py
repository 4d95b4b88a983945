"""The images' names, told from a checkout's files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from guildnet_devcluster.image_inputs import copied_paths
from guildnet_devcluster.images import DOCKERFILE, image_name

CHECKOUT = Path(__file__).parents[3]
TARGETS = ("operator", "work", "operator-base", "work-base")


def _copied(target: str) -> tuple[str, ...]:
    return copied_paths((CHECKOUT / DOCKERFILE).read_text(), target)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for path in {DOCKERFILE.as_posix(), *_copied("operator"), *_copied("work")}:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / path).is_dir():
            shutil.copytree(CHECKOUT / path, target)
        else:
            shutil.copy2(CHECKOUT / path, target)
    return tmp_path


def _names(checkout: Path) -> dict[str, str]:
    return {target: image_name(checkout, target) for target in TARGETS}


def _changed(checkout: Path, path: str) -> set[str]:
    before = _names(checkout)
    with (checkout / path).open("a") as file:
        file.write("\n")
    after = _names(checkout)
    return {target for target in TARGETS if before[target] != after[target]}


def test_names_say_what_they_are_made_from(checkout: Path) -> None:
    for target, name in _names(checkout).items():
        assert re.fullmatch(rf"localhost/guildnet-{target}:[0-9a-f]{{12}}", name)
    assert _names(checkout) == _names(checkout)


@pytest.mark.parametrize(
    ("path", "targets"),
    [
        ("core/guildnet/errors.py", {"operator", "work"}),
        ("agent/guildnet_agent/__init__.py", {"operator", "work"}),
        ("reconciler/guildnet_reconciler/__init__.py", {"operator"}),
        ("requirements-image.lock", {"operator", "operator-base"}),
        ("agent/Dockerfile", set(TARGETS)),
    ],
)
def test_a_change_renames_what_is_made_from_it(
    checkout: Path, path: str, targets: set[str]
) -> None:
    """I5: an edit of code never touches the heavy layers below it."""
    assert _changed(checkout, path) == targets


def test_bytecode_and_new_times_change_nothing(checkout: Path) -> None:
    before = _names(checkout)
    cache = checkout / "core/guildnet/__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "errors.cpython-311.pyc").write_bytes(b"x")
    (checkout / "core/guildnet/errors.py").touch()

    assert _names(checkout) == before


def test_everything_copied_exists_and_reaches_the_builder() -> None:
    let_in = set((CHECKOUT / ".dockerignore").read_text().splitlines())
    for path in {*_copied("operator"), *_copied("work")}:
        assert (CHECKOUT / path).exists(), path
        folders = [folder.as_posix() for folder in Path(path).parents]
        assert {f"!{each}" for each in (path, *folders)} & let_in, path
