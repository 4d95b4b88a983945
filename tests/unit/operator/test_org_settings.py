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
