"""The operator's chart: what its values change, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.helm import OPERATOR_CHART, Helm, Values

DIGEST = "sha256:" + "b" * 64
EVERYTHING: dict[str, Any] = {
    "org": "acme",
    "image": {"registry": "registry.example/mirror", "digest": DIGEST, "pullPolicy": "Always"},
    "workImage": {"repository": "agents/work", "tag": "7"},
    "imagePullSecrets": ["pull"],
    "caBundle": {"existingConfigMap": "authorities", "key": "all.pem"},
    "proxy": {"https": "http://proxy:2", "noProxy": "10.0.0.0/8"},
    "priorityClassName": "high",
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
    "extraEnv": [{"name": "A", "value": "B"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "reconciler": {"createAccount": True},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}


def rendered(helm: Helm, values: Values) -> dict[str, dict[str, Any]]:
    objects = helm.template(OPERATOR_CHART, values, namespace="guildnet-system")
    return {obj["kind"]: obj for obj in objects}


@pytest.mark.parametrize("values", [{"org": "acme"}, EVERYTHING], ids=["simple", "all"])
def test_helm_lints_it(helm: Helm, values: Values) -> None:
    helm.run("lint", "--strict", str(OPERATOR_CHART), values=values)


def test_values_reach_the_pod(helm: Helm) -> None:
    template = rendered(helm, EVERYTHING)["Deployment"]["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    assert container["image"] == f"registry.example/mirror/guildnet-operator@{DIGEST}"
    assert env["GUILDNET_OPERATOR_IMAGE"] == container["image"]
    assert env["GUILDNET_WORK_IMAGE"] == "registry.example/mirror/agents/work:7"
    assert env["SSL_CERT_FILE"] == "/etc/guildnet/ca/all.pem"
    assert (env["HTTPS_PROXY"], env["NO_PROXY"]) == ("http://proxy:2", "10.0.0.0/8")
    assert "HTTP_PROXY" not in env
    assert env["A"] == "B"
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert (pod["priorityClassName"], pod["nodeSelector"]) == ("high", {"disk": "ssd"})
    assert template["metadata"]["annotations"] == {"a": "b"}
    assert template["metadata"]["labels"]["c"] == "d"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "at '/org': minLength"),
        ({"org": "Acme"}, "at '/org'"),
        ({"org": "acme", "workImage": {"digest": "latest"}}, "at '/workImage/digest'"),
        ({"org": "acme", "agents": {"namespace": "-"}}, "at '/agents/namespace'"),
        ({"org": "acme", "networkPolicy": {"apiServerPorts": []}}, "at '/networkPolicy/apiServer"),
        ({"org": "acme", "crd": {}}, "additional properties 'crd' not allowed"),
    ],
    ids=str,
)
def test_wrong_values_are_named(helm: Helm, wrong: Values, message: str) -> None:
    assert message in helm.refusal(OPERATOR_CHART, wrong)
