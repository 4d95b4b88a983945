"""`guildnet doctor` says how a policy in force differs from what `guildnet mesh policy` prints."""

from __future__ import annotations

from typing import Any

import pytest

from guildnet.mesh import MeshSettings, mesh_policy, policy_text
from guildnet_cli.mesh.policy_check import NotPlain, differences, parse_policy

TAG = "tag:guildnet-acme"
MESH = MeshSettings(login_server="https://h.example", tags=(TAG,), people=("alice@", "bob@"))
WANTED = mesh_policy({"acme": MESH})


def found(in_force: dict[str, Any]) -> list[str]:
    return differences(WANTED, in_force, (TAG,))


def with_rule(source: str, destination: str) -> dict[str, Any]:
    rule = {"action": "accept", "src": [source], "dst": [destination]}
    return {**WANTED, "acls": [*WANTED["acls"], rule]}


def test_the_printed_policy_has_no_differences() -> None:
    assert found(dict(parse_policy(policy_text(WANTED, "https://h.example")))) == []


def test_rules_for_other_peers_are_nobodys_business() -> None:
    assert found(with_rule("group:admins", "tag:database:5432")) == []


@pytest.mark.parametrize("destination", [f"{TAG}:22", "*:*", "tag:gn-cluster:*"])
def test_other_ways_to_agents_and_clusters_are_named(destination: str) -> None:
    assert found(with_rule("*", destination)) == [f"* reaches {destination} as well"]


def test_what_is_missing_is_named() -> None:
    assert found({}) == [
        "tagOwners lacks tag:gn-cluster",
        "tagOwners lacks tag:gn-reconciler",
        f"tagOwners lacks {TAG}",
        "alice@ is not in group:guildnet-acme",
        "bob@ is not in group:guildnet-acme",
        f"no rule lets group:guildnet-acme reach {TAG}:8443",
        "no rule lets tag:gn-reconciler reach tag:gn-cluster:6443",
    ]


def test_a_person_who_left_the_orgs_file_is_named() -> None:
    more = {"group:guildnet-acme": ["alice@", "bob@", "mallory@"]}
    assert found({**WANTED, "groups": more}) == [
        "mallory@ is in group:guildnet-acme and not in spec.mesh.people"
    ]


@pytest.mark.parametrize("text", ["{,}", "[]", "{/* a */}", "[" * 100_000])
def test_what_is_not_plain_json_is_not_compared(text: str) -> None:
    with pytest.raises(NotPlain):
        parse_policy(text)


@pytest.mark.parametrize(
    "in_force", [{"acls": [1]}, {"acls": [{}]}, {"groups": [1]}, {"groups": 1}]
)
def test_a_policy_of_another_shape_is_not_compared(in_force: dict[str, Any]) -> None:
    with pytest.raises(NotPlain):
        found(in_force)
