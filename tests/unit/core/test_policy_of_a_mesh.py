"""The control server's policy for several orgs: who reaches what, as rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guildnet.errors import InvalidResource
from guildnet.loading import load_org
from guildnet.mesh import (
    CLUSTER_TAG,
    RECONCILER_TAG,
    MeshSettings,
    default_tag,
    mesh_policy,
    mesh_settings,
    policy_text,
    shared_tags,
)
from guildnet.resources import Source

SERVER = "https://headscale.example"


def _mesh(org: str, **given: Any) -> MeshSettings:
    found = mesh_settings(
        org, {"mode": "tailscale", "loginServer": SERVER, "apiSecret": "mesh", **given}
    )
    assert found is not None
    return found


def _rules(policy: dict[str, Any]) -> set[tuple[str, str]]:
    assert all(len(rule["src"]) == len(rule["dst"]) == 1 for rule in policy["acls"])
    return {(rule["src"][0], rule["dst"][0]) for rule in policy["acls"]}


def test_people_reach_the_editors_of_their_own_org_and_reconcilers_reach_clusters() -> None:
    acme = _mesh("acme", people=["zoe@example.com", "alice@"])
    globex = _mesh("globex", people=["bob@"], tags=["tag:robots", "tag:eu"])

    policy = mesh_policy({"globex": globex, "acme": acme})

    assert policy["groups"] == {
        "group:guildnet-acme": ["alice@", "zoe@example.com"],
        "group:guildnet-globex": ["bob@"],
    }
    assert _rules(policy) == {
        (RECONCILER_TAG, f"{CLUSTER_TAG}:6443"),
        ("group:guildnet-acme", "tag:guildnet-acme:8443"),
        ("group:guildnet-globex", "tag:robots:8443"),
    }
    assert all((rule["action"], rule["proto"]) == ("accept", "tcp") for rule in policy["acls"])
    # Without an owner, only administrators can assign a tag.
    assert policy["tagOwners"] == {
        tag: []
        for tag in (CLUSTER_TAG, RECONCILER_TAG, "tag:eu", "tag:guildnet-acme", "tag:robots")
    }


def test_without_people_nobody_reaches_an_agent() -> None:
    """An empty group would be an error, and a policy without rules accepts everything."""
    policy = mesh_policy({"acme": _mesh("acme")})
    assert policy["groups"] == {}
    assert _rules(policy) == {(RECONCILER_TAG, f"{CLUSTER_TAG}:6443")}
    assert _rules(mesh_policy({})) == _rules(policy)


def test_the_policy_does_not_depend_on_the_order_of_orgs_and_people() -> None:
    """I5: the same files give the same policy, byte for byte."""
    orgs = {"acme": _mesh("acme", people=["a@", "b@"]), "globex": _mesh("globex", people=["c@"])}
    other = {"globex": orgs["globex"], "acme": _mesh("acme", people=["b@", "a@"])}
    text = policy_text(mesh_policy(orgs), SERVER)
    assert policy_text(mesh_policy(other), SERVER) == text
    without_comments = [line for line in text.splitlines() if not line.startswith("//")]
    assert json.loads("\n".join(without_comments)) == mesh_policy(orgs)


def test_a_tag_of_two_orgs_is_reported_for_both_on_one_control_server_alone() -> None:
    shared = {"acme": _mesh("acme", tags=["tag:ai"]), "globex": _mesh("globex", tags=["tag:ai"])}
    assert set(shared_tags(shared)) == {
        ("acme", "tag:ai", ("globex",)),
        ("globex", "tag:ai", ("acme",)),
    }
    elsewhere = _mesh("globex", tags=["tag:ai"], loginServer="https://other.example")
    assert list(shared_tags({**shared, "globex": elsewhere})) == []


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        (RECONCILER_TAG, "reserved for reconcilers and clusters"),
        (CLUSTER_TAG, "reserved for reconcilers and clusters"),
        (default_tag("globex"), "reserved for the agents of an org globex"),
    ],
)
def test_an_org_cannot_take_a_tag_that_belongs_to_others(tag: str, message: str) -> None:
    """I2: also by a commit to its own file alone."""
    with pytest.raises(InvalidResource) as refused:
        _load(f"tags: ['tag:own', '{tag}']")
    (problem,) = refused.value.problems
    assert message in problem.message
    assert problem.message.startswith("spec.mesh.tags[1]")
    assert problem.line == 8
    assert _load(f"tags: ['{default_tag('acme')}']").spec["mesh"]["tags"] == [default_tag("acme")]


@pytest.mark.parametrize("login", ["alice", "group:x", "al ice@x", "*", "@example.com"])
def test_people_are_logins(login: str) -> None:
    """A group or a wildcard would let in others than those that the file lists."""
    with pytest.raises(InvalidResource, match=r"spec\.mesh\.people"):
        _load(f"people: ['{login}']")


def _load(line: str) -> Any:
    text = f"""\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: acme}}
spec:
  cluster: {{kubeconfig: acme, namespace: agents}}
  agent: {{command: [sh]}}
  mesh: {{mode: tailscale, apiSecret: mesh, loginServer: '{SERVER}',
    {line}}}
"""
    return load_org(text.encode(), Source("orgs/acme.yaml"))
