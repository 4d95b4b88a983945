"""The operator reads the org's settings as the reconciler writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guildnet.resources import ClusterRef, Org, Source
from guildnet_operator.views import OrgSettings, org_settings
from guildnet_reconciler.org.claim import claim_data


def carried(**spec: Any) -> OrgSettings:
    org = Org("acme", ClusterRef("acme", "agents"), spec, Source("orgs/acme.yaml"))
    data = claim_data(
        org,
        state_repository="https://git.example/state.git",
        status_root="status",
        attempted=None,
        applied=None,
        namespace_uid=None,
    )
    return org_settings({"metadata": {}, "data": data})


def test_the_dns_servers_of_the_orgs_file_reach_the_operator() -> None:
    found = carried(dns=[{"address": "10.0.0.53"}, {"address": "fd00::53", "port": 5353}])
    assert found.dns == (("10.0.0.53", 53), ("fd00::53", 5353))
    assert carried().dns == ()


@pytest.mark.parametrize("dns", [5, [5], [{}], [{"address": "x", "port": "y"}], {"a": 1}])
def test_unreadable_settings_give_the_defaults(dns: Any) -> None:
    data = {"org": "acme", "settings": json.dumps({"dns": dns})}
    assert org_settings({"metadata": {}, "data": data}) == OrgSettings("acme")


def test_the_mesh_of_the_orgs_file_reaches_the_operator() -> None:
    mesh = {"mode": "tailscale", "apiSecret": "mesh", "loginServer": "http://10.0.0.1:8080"}
    found = carried(mesh=mesh).mesh
    assert found is not None
    assert (found.address, found.tags) == (("10.0.0.1", 8080), ("tag:guildnet-acme",))
    assert carried().mesh is None


@pytest.mark.parametrize("server", ["http://[::1", "https://x:99999", "", "x"])
def test_a_mesh_that_cannot_be_read_leaves_the_other_settings(server: str) -> None:
    mesh = {"mode": "tailscale", "apiSecret": "mesh", "loginServer": server}
    data = {"org": "acme", "settings": json.dumps({"mesh": mesh, "limits": {"maxActive": 7}})}
    found = org_settings({"metadata": {}, "data": data})
    assert (found.mesh, found.max_active) == (None, 7)


@pytest.mark.parametrize(
    "settings",
    [
        "[" * 100_000,
        '{"limits": {"maxActive": 1e999}}',
        '{"limits": {"maxActive": NaN}}',
        '{"egress": [{"host": "x", "port": 70000}]}',
        '{"egress": [{"host": "x", "port": -1}]}',
        "not JSON",
        "5",
    ],
)
def test_a_malformed_config_map_stops_no_agent(settings: str) -> None:
    data = {"org": "acme", "settings": settings}
    assert org_settings({"metadata": {}, "data": data}) == OrgSettings("acme")
