"""The version of each component is the one that its go.mod pins."""

from __future__ import annotations

import re

import pytest

from guildnet_devcluster.components import BASE_COMPONENTS, COMPONENTS
from guildnet_devcluster.preparation import MESH_COMPONENTS

OURS = "guildnet.io/"
UPSTREAM = sorted(
    name for name, each in COMPONENTS.items() if not each.packages[0].startswith(OURS)
)


@pytest.mark.parametrize("name", UPSTREAM)
def test_it_is_pinned_in_go_mod(name: str) -> None:
    component = COMPONENTS[name]
    pinned = dict(
        re.findall(
            r"^(?:require)?\s*(\S+) v(\S+)", (component.module / "go.mod").read_text(), re.MULTILINE
        )
    )
    versions = {pinned.get(package) for package in _modules(component.packages[0])}
    assert component.version in versions


def _modules(package: str) -> list[str]:
    """The module paths that can contain a package, longest first."""
    parts = package.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def test_a_plain_cluster_does_not_wait_for_the_mesh() -> None:
    """A first `make demo` compiles for a quarter of an hour already."""
    assert set(MESH_COMPONENTS) <= set(COMPONENTS)
    assert not set(MESH_COMPONENTS) & set(BASE_COMPONENTS)
