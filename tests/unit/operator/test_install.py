"""The operator's own manifests: least privilege, and nothing shared by two orgs."""

from __future__ import annotations

from typing import Any

from guildnet_operator.install import RULES, manifests

EXAMPLE: dict[str, Any] = {
    "namespace": "agents",
    "image": "localhost/guildnet-operator:latest",
    "agent_image": "localhost/guildnet-operator:latest",
    "work_image": "localhost/guildnet-work:latest",
    "mesh_image": "localhost/guildnet-mesh:latest",
    "org": "acme",
}


def test_orgs_that_share_a_cluster_overwrite_nothing_of_each_other() -> None:
    """I2, I3"""
    one = _by_place(manifests(**EXAMPLE))
    other = _by_place(manifests(**{**EXAMPLE, "namespace": "globex-agents", "org": "globex"}))
    shared = one.keys() & other.keys()
    assert shared == {("Namespace", None, "guildnet-system")}
    assert all(one[key] == other[key] for key in shared)
    selectors = [
        obj["spec"]["selector"]["matchLabels"]
        for objects in (one, other)
        for obj in objects.values()
        if obj["kind"] == "Deployment"
    ]
    assert selectors[0] != selectors[1]


def _by_place(objects: list[dict[str, Any]]) -> dict[tuple[str, str | None, str], dict[str, Any]]:
    return {
        (obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]): obj
        for obj in objects
    }


def test_outside_its_namespace_it_only_reads_dns_servers() -> None:
    kinds = {obj["kind"] for obj in manifests(**EXAMPLE)}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    roles = {o["metadata"]["namespace"]: o for o in manifests(**EXAMPLE) if o["kind"] == "Role"}
    assert roles.keys() == {"agents", "kube-system"}
    assert roles["kube-system"]["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["services"],
            "resourceNames": ["kube-dns"],
            "verbs": ["get"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
    ]


def test_no_right_is_a_wildcard_or_a_way_around() -> None:
    for rule in RULES:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert "delete" not in rule["verbs"]
        assert not {"pods/exec", "serviceaccounts/token"} & set(rule["resources"])
