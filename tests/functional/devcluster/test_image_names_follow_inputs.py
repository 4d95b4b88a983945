"""The names of images, computed from the files of a checkout."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from guildnet_devcluster.image_inputs import copied_paths
from guildnet_devcluster.images import DOCKERFILE, image_name

CHECKOUT = Path(__file__).parents[3]
TARGETS = ("operator", "work", "operator-base", "work-base", "mesh")


def _copied(target: str) -> tuple[str, ...]:
    return copied_paths((CHECKOUT / DOCKERFILE).read_text(), target)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for path in {DOCKERFILE.as_posix(), *_copied("operator"), *_copied("work"), *_copied("mesh")}:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / path).is_dir():
            shutil.copytree(CHECKOUT / path, target, dirs_exist_ok=True)
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


def test_names_contain_target_and_digest(checkout: Path) -> None:
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
        ("agent/coding-agents/codex/package-lock.json", {"work"}),
        ("devcluster/guildnet_devcluster/modules/tailscale/go.sum", {"operator", "mesh"}),
        ("agent/Dockerfile", set(TARGETS)),
    ],
)
def test_a_change_renames_the_images_built_from_it(
    checkout: Path, path: str, targets: set[str]
) -> None:
    """I5: a change of code does not rebuild the large base layers."""
    assert _changed(checkout, path) == targets


def test_an_image_with_agents_has_a_repository_of_its_own(checkout: Path) -> None:
    """So the pruning of one kind of image leaves the other kinds in the cache."""
    plain, with_agents = (image_name(checkout, "work", agents) for agents in ((), ("codex", "pi")))
    assert with_agents.rpartition(":")[0] == "localhost/guildnet-work-codex-pi"
    assert plain.rpartition(":")[0] == "localhost/guildnet-work"


def test_bytecode_and_timestamps_do_not_matter(checkout: Path) -> None:
    before = _names(checkout)
    cache = checkout / "core/guildnet/__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "errors.cpython-311.pyc").write_bytes(b"x")
    (checkout / "core/guildnet/errors.py").touch()

    assert _names(checkout) == before


def test_dockerignore_admits_every_copied_path() -> None:
    admitted = set((CHECKOUT / ".dockerignore").read_text().splitlines())
    for path in {*_copied("operator"), *_copied("work"), *_copied("mesh")}:
        assert (CHECKOUT / path).exists(), path
        folders = [folder.as_posix() for folder in Path(path).parents]
        assert {f"!{each}" for each in (path, *folders)} & admitted, path
