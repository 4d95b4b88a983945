"""The operator's own manifests: least privilege, and the same as the YAML beside them."""

from __future__ import annotations

from pathlib import Path

import yaml

from guildnet_operator.deploy import RULES, manifests

DEPLOY = Path(__file__).parents[3] / "deploy" / "operator"
EXAMPLE = {
    "namespace": "agents",
    "image": "localhost/guildnet-operator:latest",
    "agent_image": "localhost/guildnet-operator:latest",
    "work_image": "localhost/guildnet-work:latest",
    "org": "acme",
}


def test_the_yaml_is_what_is_installed() -> None:
    files = sorted(DEPLOY.glob("*.yaml"))
    found = [obj for file in files for obj in yaml.safe_load_all(file.read_text())]
    assert found == manifests(**EXAMPLE)


def test_its_rights_end_with_the_agents_namespace() -> None:
    kinds = {obj["kind"] for obj in manifests(**EXAMPLE)}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    role = next(obj for obj in manifests(**EXAMPLE) if obj["kind"] == "Role")
    assert role["metadata"]["namespace"] == "agents"


def test_no_right_is_a_wildcard_or_a_way_around() -> None:
    for rule in RULES:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert "delete" not in rule["verbs"]
        assert not {"pods/exec", "serviceaccounts/token"} & set(rule["resources"])
