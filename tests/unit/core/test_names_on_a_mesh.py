"""Names of peers, tags and users on a control server, and the settings of an org's mesh."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.mesh import (
    VENDOR_LOGIN_SERVER,
    default_tag,
    is_vendor,
    mesh_settings,
    peer_name,
    user_name,
)

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True)


@given(NAMES, NAMES)
def test_a_peers_name_is_a_dns_label(task: str, org: str) -> None:
    name = peer_name(task, org)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name)
    assert name == f"{task}-{org}" or len(f"{task}-{org}") > 63


def test_long_names_of_different_tasks_differ() -> None:
    one, other = peer_name("a" * 50, "b" * 50), peer_name("a" * 50, "b" * 49 + "c")
    assert one != other
    assert one == peer_name("a" * 50, "b" * 50)


def test_orgs_of_one_name_in_two_clusters_have_two_users() -> None:
    assert user_name("acme", "uid-1") != user_name("acme", "uid-2")
    assert re.fullmatch(r"guildnet-acme-[0-9a-f]{10}", user_name("acme", "uid-1"))


@pytest.mark.parametrize("given", [None, {}, {"mode": "none", "apiSecret": "mesh"}])
def test_an_org_without_a_mesh_has_no_settings(given: dict[str, str] | None) -> None:
    assert mesh_settings("acme", given) is None


def test_defaults_are_the_vendors_server_and_a_tag_of_the_org() -> None:
    mesh = mesh_settings("acme", {"mode": "tailscale", "apiSecret": "mesh"})
    assert mesh is not None
    assert (mesh.login_server, mesh.secret) == (VENDOR_LOGIN_SERVER, "mesh")
    assert mesh.tags == (default_tag("acme"),) == ("tag:guildnet-acme",)
    assert mesh.given_tags == ()
    assert mesh.address == ("controlplane.tailscale.com", 443)
    assert is_vendor(mesh.login_server)


def test_the_port_of_a_login_server_follows_its_scheme() -> None:
    given = {"mode": "tailscale", "apiSecret": "mesh", "loginServer": "http://10.0.0.1/"}
    mesh = mesh_settings("acme", given)
    assert mesh is not None
    assert (mesh.login_server, mesh.address) == ("http://10.0.0.1", ("10.0.0.1", 80))
    assert not is_vendor(mesh.login_server)
