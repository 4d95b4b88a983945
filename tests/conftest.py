"""Every test has its own HOME, state folder and git configuration; its tier is its folder."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from guildnet_devcluster.mesh import Mesh

TIERS = ("unit", "functional", "cluster", "e2e", "talos")
HERE = Path(__file__).parent

# No deadline: a busy machine may be slow. In CI the examples are always the same, so that a failure
# is caused by the change under test.
settings.register_profile("guildnet", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("guildnet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(HERE).parts[0]
        if tier in TIERS:
            item.add_marker(tier)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape lone surrogates in reports: a worker of xdist could not send them, and would end."""
    return _encodable((yield))


def _encodable(data: Any) -> Any:
    match data:
        case str():
            return data.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_encodable(key): _encodable(value) for key, value in data.items()}
        case list() | tuple():
            return [_encodable(value) for value in data]
        case _:
            return data


@pytest.fixture(autouse=True)
def own_surroundings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A HOME of the test's own, with an identity for git and nothing of the person's settings."""
    home = tmp_path_factory.mktemp("home")
    # What was built once serves every test; only settings and state are the test's own.
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "A Tester")
        monkeypatch.setenv(f"{name}_EMAIL", "tester@example.com")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    return home


@pytest.fixture(scope="session")
def mesh_programs() -> None:
    """Headscale and Tailscale, compiled before a test's own HOME hides the Go caches."""
    from guildnet.errors import GuildNetError
    from guildnet_devcluster.preparation import prepare_mesh
    from guildnet_devcluster.progress import progress_to

    try:
        prepare_mesh(progress_to())
    except GuildNetError as error:
        pytest.skip(f"Headscale or Tailscale cannot be built here: {error}")


@pytest.fixture(scope="session")
def mesh_server(mesh_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A real Headscale on loopback for the whole session, without a policy; needs no root.

    Tests share it: each uses users and tags of its own. One that sets a policy starts its own
    Headscale by `mesh.up(tmp_path / "mesh", progress=...)`, in half a second.
    """
    from guildnet_devcluster import mesh
    from guildnet_devcluster.progress import progress_to

    folder = tmp_path_factory.mktemp("mesh-server")
    try:
        yield mesh.up(folder, progress=progress_to())
    finally:
        mesh.down(folder)
