"""The operator's chart and `guildnet org install` apply the same objects."""

from __future__ import annotations

from typing import Any

import pytest
from tests.helm import OPERATOR_CHART, Helm, Values

from guildnet import labels, schema
from guildnet_operator.install import manifests
from guildnet_reconciler import rights

OPERATOR, WORK = "registry.example/guildnet-operator", "registry.example/guildnet-work"
MESH = "registry.example/guildnet-mesh"


def values(**more: Any) -> Values:
    return {
        "org": "acme",
        "image": {"repository": OPERATOR, "tag": "1"},
        "workImage": {"repository": WORK, "tag": "2"},
        "meshImage": {"repository": MESH, "tag": "3"},
        **more,
    }


def installed(namespace: str, **more: Any) -> list[dict[str, Any]]:
    """What `guildnet org install` applies, but for the namespace that a release has to be in."""
    operator = f"{OPERATOR}:1"
    found = manifests(
        namespace=namespace,
        image=operator,
        agent_image=operator,
        work_image=f"{WORK}:2",
        mesh_image=f"{MESH}:3",
        org="acme",
        **more,
    )
    own = [obj for obj in found if place(obj) != ("Namespace", None, labels.OPERATOR_NAMESPACE)]
    return [schema.crd(), *own]


def place(obj: dict[str, Any]) -> tuple[str, str | None, str]:
    return obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]


def by_place(objects: list[dict[str, Any]]) -> dict[tuple[str, str | None, str], dict[str, Any]]:
    found = {place(obj): obj for obj in objects}
    assert len(found) == len(objects)
    return found


def without_policy(obj: dict[str, Any]) -> dict[str, Any]:
    """Without the one annotation by which Helm keeps an object."""
    metadata = dict(obj["metadata"])
    annotations = dict(metadata.pop("annotations", {}))
    annotations.pop("helm.sh/resource-policy", None)
    return {
        **obj,
        "metadata": {**metadata, **({"annotations": annotations} if annotations else {})},
    }


@pytest.mark.parametrize("namespace", ["agents", "globex-agents"])
def test_with_default_values(helm: Helm, namespace: str) -> None:
    rendered = helm.template(
        OPERATOR_CHART,
        values(agents={"namespace": namespace}),
        namespace=labels.OPERATOR_NAMESPACE,
    )
    assert by_place([without_policy(obj) for obj in rendered]) == by_place(installed(namespace))


def test_with_an_api_server_at_another_port(helm: Helm) -> None:
    rendered = helm.template(
        OPERATOR_CHART,
        values(networkPolicy={"apiServerPorts": [443, 16443]}),
        namespace=labels.OPERATOR_NAMESPACE,
    )
    expected = installed("agents", api_server_ports=(443, 16443))
    assert by_place([without_policy(obj) for obj in rendered]) == by_place(expected)


def test_what_holds_agent_tasks_is_kept_unless_asked(helm: Helm) -> None:
    """I1: an uninstalled release deletes no AgentTask, neither with its CRD nor its namespace."""

    def kept(more: Values) -> set[str]:
        objects = helm.template(OPERATOR_CHART, values(**more), namespace="system")
        return {
            obj["kind"]
            for obj in objects
            if obj["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        }

    assert kept({}) == {"CustomResourceDefinition", "Namespace"}
    assert kept({"crds": {"keep": False}, "agents": {"keepNamespace": False}}) == set()


def test_the_account_of_a_reconciler_has_rights_in_one_namespace(helm: Helm) -> None:
    more = {"reconciler": {"createAccount": True}}
    objects = helm.template(OPERATOR_CHART, values(**more), namespace="system")
    own = [obj for obj in objects if obj["metadata"]["name"] == "guildnet-reconciler-account"]
    assert {obj["kind"] for obj in own} == {"ServiceAccount", "Role", "RoleBinding"}
    assert {obj["metadata"]["namespace"] for obj in own} == {"agents"}
    (role,) = (obj for obj in own if obj["kind"] == "Role")
    assert role["rules"] == rights.RULES
    assert "*" not in str(role["rules"])
    assert "secrets" not in str(role["rules"])


def test_a_second_org_in_the_cluster_leaves_the_crd_to_the_first(helm: Helm) -> None:
    more = {"crds": {"install": False}, "agents": {"namespace": "globex-agents"}}
    objects = helm.template(OPERATOR_CHART, values(**more), namespace="system")
    assert "CustomResourceDefinition" not in {obj["kind"] for obj in objects}
    first = helm.template(OPERATOR_CHART, values(), namespace="system")
    assert not by_place(objects).keys() & by_place(first).keys()
