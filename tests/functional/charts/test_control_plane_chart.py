"""The chart of reconciler and dashboard: what it renders, and which values it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import yaml
from tests.helm import CONTROL_PLANE_CHART, Helm, Values

from guildnet_cli.main import app

DIGEST = "sha256:" + "a" * 64
SIMPLE: dict[str, Any] = {
    "repository": {"url": "https://git.example/ops/state.git", "existingSecret": "state-git"},
    "dashboard": {"token": {"existingSecret": "viewers"}, "tls": {"existingSecret": "tls"}},
}
EVERYTHING: dict[str, Any] = {
    "repository": SIMPLE["repository"],
    "image": {"registry": "registry.example/mirror", "digest": DIGEST, "pullPolicy": "Always"},
    "imagePullSecrets": ["pull"],
    "caBundle": {"existingConfigMap": "authorities"},
    "proxy": {"http": "http://proxy:1", "https": "http://proxy:2", "noProxy": "10.0.0.0/8"},
    "reconciler": {
        "replicas": 3,
        "grants": ["shared=acme:team-a"],
        "webhook": {"existingSecret": "hook"},
        "token": {"existingSecret": "token"},
        "forgeToken": {"existingSecret": "forge"},
        "allowedSigners": {"existingConfigMap": "signers"},
        "openpgpKeyring": {"existingConfigMap": "keys"},
        "orgSigners": {"existingConfigMap": "people"},
        "extraArgs": ["--shards", "2", "--shard", "0"],
        "extraEnv": [{"name": "GIT_TRACE", "value": "0"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "priorityClassName": "high",
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "service": {"port": 80, "annotations": {"e": "f"}},
        "ingress": {"enabled": True, "host": "hooks.example", "className": "x", "tlsSecret": "t"},
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "gateway"}],
            "hostnames": ["hooks.example"],
        },
        "networkPolicy": {"egressTo": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
    },
    "dashboard": {
        "oidc": {
            "issuer": "https://id.example",
            "clientId": "guildnet",
            "existingSecret": "oidc",
            "publicUrl": "https://guildnet.example",
        },
        "extraEnv": [{"name": "GIT_TRACE", "value": "0"}],
        "ingress": {"enabled": True, "host": "guildnet.example", "annotations": {"g": "h"}},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
    },
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True},
        "grafanaDashboard": {"enabled": True},
    },
}
PULL_MODE: dict[str, Any] = {
    **SIMPLE,
    "reconciler": {"org": "acme", "agentsNamespace": "acme-agents", "replicas": 1},
    "dashboard": {"enabled": False},
}
WAYS = pytest.mark.parametrize(
    "values", [SIMPLE, EVERYTHING, PULL_MODE], ids=["simple", "all", "pull"]
)


def rendered(helm: Helm, values: Values) -> list[dict[str, Any]]:
    return helm.template(CONTROL_PLANE_CHART, values, namespace="guildnet")


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {obj["metadata"]["name"]: obj for obj in objects if obj["kind"] == kind}


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pods' specs by component."""
    return {
        obj["metadata"]["labels"]["app.kubernetes.io/name"].removeprefix("guildnet-"): obj["spec"][
            "template"
        ]["spec"]
        for obj in of_kind(objects, "Deployment").values()
    }


@WAYS
def test_helm_lints_it(helm: Helm, values: Values) -> None:
    helm.run("lint", "--strict", str(CONTROL_PLANE_CHART), values=values)


@WAYS
def test_pods_are_restricted_and_read_only(helm: Helm, values: Values) -> None:
    for pod in pods(rendered(helm, values)).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_only_the_reconciler_has_a_token(helm: Helm) -> None:
    objects = rendered(helm, EVERYTHING)
    found = {name: pod["automountServiceAccountToken"] for name, pod in pods(objects).items()}
    assert found == {"reconciler": True, "dashboard": False}
    accounts = of_kind(objects, "ServiceAccount").values()
    assert all(account["automountServiceAccountToken"] is False for account in accounts)


def test_rights_are_bound_to_one_namespace(helm: Helm) -> None:
    (role,) = of_kind(rendered(helm, SIMPLE), "Role").values()
    assert role["metadata"]["namespace"] == "guildnet"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}
    ]
    objects = rendered(helm, PULL_MODE)
    (role,) = of_kind(objects, "Role").values()
    assert role["metadata"]["namespace"] == "acme-agents"
    assert "secrets" not in str(role["rules"])
    assert not of_kind(objects, "ClusterRole")


@WAYS
def test_every_option_is_one_of_the_command(helm: Helm, values: Values) -> None:
    command = typer.main.get_command(app)
    verbs: dict[str, Any] = getattr(command, "commands", {})
    for verb, pod in pods(rendered(helm, values)).items():
        (container,) = pod["containers"]
        assert container["command"] == ["guildnet", verb]
        known = {option for parameter in verbs[verb].params for option in parameter.opts}
        given = {arg for arg in container["args"] if arg.startswith("--")}
        assert given <= known
        assert len(container["args"]) - len(given) <= len(given)


def test_images_by_digest_from_a_mirror(helm: Helm) -> None:
    for pod in pods(rendered(helm, EVERYTHING)).values():
        (container,) = pod["containers"]
        assert container["image"] == f"registry.example/mirror/guildnet-operator@{DIGEST}"
        assert container["imagePullPolicy"] == "Always"
        assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_authorities_and_proxies_reach_git_and_clients(helm: Helm) -> None:
    for pod in pods(rendered(helm, EVERYTHING)).values():
        env = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
        assert env["SSL_CERT_FILE"] == env["GIT_SSL_CAINFO"] == "/etc/guildnet/ca/ca.crt"
        assert env["HTTPS_PROXY"] == env["https_proxy"] == "http://proxy:2"
        assert env["NO_PROXY"] == "10.0.0.0/8"


def test_network_policies_deny_by_default(helm: Helm) -> None:
    policies = of_kind(rendered(helm, SIMPLE), "NetworkPolicy")
    assert policies.keys() == {"guildnet-rel-reconciler", "guildnet-rel-dashboard"}
    for policy in policies.values():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("ports") for rule in policy["spec"]["egress"])
        assert all(rule.get("from") for rule in policy["spec"]["ingress"])
    # Without a secret nobody may send webhooks: replicas and scrapes are left.
    (ingress,) = policies["guildnet-rel-reconciler"]["spec"]["ingress"]
    assert len(ingress["from"]) == 2


def test_webhooks_alone_are_published(helm: Helm) -> None:
    """Metrics and readiness stay inside."""
    objects = rendered(helm, EVERYTHING)
    (rule,) = of_kind(objects, "Ingress")["guildnet-rel-reconciler"]["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/webhook"]
    (rule,) = of_kind(objects, "HTTPRoute")["guildnet-rel-reconciler"]["spec"]["rules"]
    assert [match["path"]["value"] for match in rule["matches"]] == ["/webhook"]


def test_replicas_are_kept_apart(helm: Helm) -> None:
    objects = rendered(helm, EVERYTHING)
    assert of_kind(objects, "PodDisruptionBudget").keys() == of_kind(objects, "Deployment").keys()
    for pod in pods(objects).values():
        assert "podAntiAffinity" in pod["affinity"]
        assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert not of_kind(rendered(helm, PULL_MODE), "PodDisruptionBudget")  # it would block drains


def test_the_selector_of_a_service_matches_its_pods_alone(helm: Helm) -> None:
    objects = rendered(helm, EVERYTHING)
    templates = {
        name: obj["spec"]["template"]["metadata"]["labels"]
        for name, obj in of_kind(objects, "Deployment").items()
    }
    for service in of_kind(objects, "Service").values():
        selector = service["spec"]["selector"].items()
        matched = [name for name, labels in templates.items() if selector <= labels.items()]
        assert len(matched) == 1
        assert service["metadata"]["name"].startswith(matched[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"repository": {"url": ""}}, "at '/repository/url': minLength"),
        ({"repository": {"url": "https://me:secret@git.example/x"}}, "at '/repository/url'"),
        ({"image": {"digest": "sha256:1"}}, "at '/image/digest'"),
        ({"reconciler": {"replicas": 0}}, "at '/reconciler/replicas': minimum"),
        (
            {"reconciler": {"replicas": "two"}},
            "at '/reconciler/replicas': got string, want integer",
        ),
        ({"reconciler": {"poll": "soon"}}, "at '/reconciler/poll'"),
        ({"reconciler": {"grants": ["acme"]}}, "at '/reconciler/grants/0'"),
        (
            {"reconciler": {"webhook": {"secret": "x"}}},
            "additional properties 'secret' not allowed",
        ),
        ({"dashboard": {"token": {"existingSecret": "A"}}}, "at '/dashboard/token/existingSecret'"),
        ({"typo": 1}, "additional properties 'typo' not allowed"),
    ],
    ids=str,
)
def test_wrong_values_are_named_by_the_schema(helm: Helm, wrong: Values, message: str) -> None:
    assert message in helm.refusal(CONTROL_PLANE_CHART, merged(SIMPLE, wrong))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dashboard": {"token": {"existingSecret": ""}}}, "set dashboard.token.existingSecret or"),
        ({"dashboard": {"tls": {"existingSecret": ""}}}, "set dashboard.tls.existingSecret, or"),
        (
            {"dashboard": {"oidc": {"issuer": "https://id"}}},
            "oidc.issuer needs clientId, publicUrl",
        ),
        (
            {"monitoring": {"serviceMonitor": {"enabled": True}}},
            "serviceMonitor needs reconciler.token.existingSecret",
        ),
        ({"reconciler": {"ingress": {"enabled": True}}}, "reconciler.ingress.host is required"),
        ({"reconciler": {"httpRoute": {"enabled": True}}}, "httpRoute.parentRefs is required"),
    ],
    ids=str,
)
def test_values_that_do_not_go_together_are_refused(
    helm: Helm, wrong: Values, message: str
) -> None:
    assert message in helm.refusal(CONTROL_PLANE_CHART, merged(SIMPLE, wrong))


def merged(one: Values, other: Values) -> dict[str, Any]:
    """As Helm merges values."""
    both = dict(one)
    for key, value in other.items():
        mine = both.get(key)
        both[key] = (
            merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
        )
    return both


def test_no_value_holds_a_secret() -> None:
    """I8: values end in the release's Secret, in CI logs and in git."""

    def names(values: Values) -> Iterator[str]:
        for key, value in values.items():
            yield key
            if isinstance(value, dict):
                yield from names(value)

    found = set(names(yaml.safe_load((CONTROL_PLANE_CHART / "values.yaml").read_text())))
    suspicious = {name for name in found if re.search("password|secret|key", name, re.I)}
    # The keyring holds public keys, from a ConfigMap.
    public = {"openpgpKeyring"}
    assert suspicious - public == {"existingSecret", "tlsSecret", "imagePullSecrets", "key"}
