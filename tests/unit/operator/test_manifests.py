"""The objects of one AgentTask: their owner, their rights, and that they are stable."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.mesh import mesh_settings
from guildnet_operator.lookups.dns_servers import DnsPods, DnsServers
from guildnet_operator.lookups.limit_ranges import limit_range_resources
from guildnet_operator.manifests import (
    Plan,
    agent_deployment,
    agent_network_policy,
    agent_secret,
    editor_service,
    template_digest,
    workspace_claim,
)
from guildnet_operator.manifests import pod as pod_module
from guildnet_operator.manifests.containers import PodPart, security_context
from guildnet_operator.manifests.resources import work_resources
from guildnet_operator.manifests.secret import document_patch, task_document
from guildnet_operator.views import DIGEST, TEMPLATE_DIGEST, OrgSettings, TaskView

SPEC: dict[str, Any] = {
    "prompt": "fix it",
    "run": 3,
    "context": [
        {"name": "web", "git": {"url": "https://git.example/web.git", "secret": "forge"}},
        {"name": "rules", "configMap": "coding-rules"},
    ],
    "agent": {
        "command": ["sh"],
        "env": [
            {"name": "MODE", "value": "$(HOME) $x"},
            {"name": "TOKEN", "secretKeyRef": {"name": "keys", "key": "token"}},
            {"name": "PASSWORD", "value": "mine"},
        ],
        "model": {"use": "main", "name": "m-1"},
        "nodeSelector": {"disk": "ssd"},
    },
}
MODEL = {
    "protocol": "anthropic", "baseURL": "https://model.example", "secret": "model-key",
    "names": ["m-1"],
}  # fmt: skip
TASK = TaskView(
    "fix-login", "agents", "0f1e2d3c-0000", 1, "7", datetime(2026, 1, 1, tzinfo=UTC), "acme",
    SPEC, {},
)  # fmt: skip
PLAN = Plan(
    TASK, OrgSettings("acme", "https://git.example/state.git", models={"main": MODEL}),
    "operator:1", "work:1", "mesh:1",
    {"forge": ("git.example",)}, (("10.1.2.3", 443), ("169.254.169.254", 80), ("fd00::1", 443)),
)  # fmt: skip
BUILDERS = [
    agent_secret, workspace_claim, agent_network_policy, agent_deployment, editor_service,
]  # fmt: skip


@pytest.fixture
def pod() -> dict[str, Any]:
    spec: dict[str, Any] = agent_deployment(PLAN)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("build", BUILDERS)
def test_every_object_is_named_labelled_and_owned(build: Any) -> None:
    """I2: the operator's objects can be distinguished from others."""
    meta = build(PLAN)["metadata"]
    assert meta["name"] == "fix-login-0f1e2"
    assert meta["namespace"] == "agents"
    assert meta["labels"]["app.kubernetes.io/managed-by"] == "guildnet-operator"
    assert meta["labels"]["guildnet.io/task"] == "fix-login"
    assert meta["labels"]["guildnet.io/org"] == "acme"
    owner = meta["ownerReferences"][0]
    assert (owner["uid"], owner["controller"]) == (TASK.uid, True)


@pytest.mark.parametrize("build", BUILDERS[1:])
def test_the_same_plan_gives_the_same_object(build: Any) -> None:
    """I4"""
    assert build(PLAN) == build(replace(PLAN))


def test_each_agent_has_its_own_key_and_password() -> None:
    one, other = agent_secret(PLAN)["data"], agent_secret(PLAN)["data"]
    assert one["api-key"] != other["api-key"]
    assert one["editor-password"] != other["editor-password"]
    assert len(base64.b64decode(one["api-key"])) == 64


def test_the_secret_carries_the_task_unchanged() -> None:
    task = json.loads(base64.b64decode(agent_secret(PLAN)["data"]["task.json"]))
    assert task["spec"] == SPEC
    assert task["gitSecrets"] == {"forge": {"hosts": ["git.example"]}}
    assert (task["org"], task["task"], task["namespace"]) == ("acme", "fix-login", "agents")
    assert task["stateRepository"] == "https://git.example/state.git"


def test_a_changed_task_keeps_key_and_password() -> None:
    assert set(document_patch(PLAN)["data"]) == {"task.json"}


def test_the_pod_meets_the_restricted_standard(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["initContainers"], *pod["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
    assert not pod.get("shareProcessNamespace")


def test_the_two_sides_share_the_exchange_and_nothing_else(pod: dict[str, Any]) -> None:
    supervisor, work = pod["initContainers"][0], pod["containers"][0]
    assert supervisor["restartPolicy"] == "Always"
    assert supervisor["securityContext"]["runAsUser"] == 10001
    assert work["securityContext"]["runAsUser"] == 10002
    mounts = [{m["name"]: m for m in c["volumeMounts"]} for c in (supervisor, work)]
    assert set(mounts[0]) & set(mounts[1]) == {"exchange-in", "exchange-out"}
    assert mounts[1]["exchange-in"]["readOnly"]
    assert mounts[0]["exchange-out"]["readOnly"]
    paths = {m["mountPath"] for m in work["volumeMounts"]}
    assert paths == {"/workspace", "/exchange/in", "/exchange/out", "/home/agent", "/tmp"}
    own = next(v for v in pod["volumes"] if v["name"] == "agent")["secret"]
    assert {item["key"] for item in own["items"]} == {"api-key", "task.json"}


def test_credentials_are_mounted_where_they_belong(pod: dict[str, Any]) -> None:
    """I8: the work container gets no credential of a forge or a model."""
    supervisor, work = pod["initContainers"][0], pod["containers"][0]
    paths = {m["mountPath"] for m in supervisor["volumeMounts"]}
    assert {"/run/guildnet/git/forge", "/run/guildnet/configmaps/coding-rules"} <= paths
    assert "/run/guildnet/model" in paths
    assert not any("model" in m["name"] for m in work["volumeMounts"])
    volume = next(v for v in pod["volumes"] if v["name"] == "model")["projected"]
    secrets = [source["secret"] for source in volume["sources"]]
    assert {secret["name"] for secret in secrets} == {"model-key"}
    keys = [(s["items"][0]["key"], s["optional"]) for s in secrets for _ in s["items"]]
    assert keys == [("api-key", False), ("ca.crt", True)]
    named = {e["valueFrom"]["secretKeyRef"]["name"] for e in work["env"] if "valueFrom" in e}
    assert named == {"fix-login-0f1e2", "keys"}


def test_the_tasks_environment_is_literal_and_ours_wins(pod: dict[str, Any]) -> None:
    env = {e["name"]: e for e in pod["containers"][0]["env"]}
    assert len(env) == len(pod["containers"][0]["env"])
    assert expanded(env["MODE"]["value"], {"HOME": "/home/agent"}) == "$(HOME) $x"
    assert "valueFrom" in env["PASSWORD"]
    assert env["GUILDNET_RUN"]["value"] == "3"
    assert env["GUILDNET_REDACT"]["value"] == "TOKEN"


@given(st.text(alphabet="$()AB ", max_size=12))
def test_dollar_signs_in_values_are_literal(text: str) -> None:
    """Otherwise `$$(PASSWORD)` would be the editor's password, and `$$` one dollar."""
    agent = {**SPEC["agent"], "env": [{"name": "X", "value": text}]}
    plan = replace(PLAN, task=replace(TASK, spec={**SPEC, "agent": agent}))
    work = agent_deployment(plan)["spec"]["template"]["spec"]["containers"][0]
    value = next(e["value"] for e in work["env"] if e["name"] == "X")
    assert expanded(value, {"A": "secret", "B": "secret"}) == text


def expanded(text: str, variables: dict[str, str]) -> str:
    """`text` as the kubelet gives it to a container: $$ is $, $(NAME) the variable's value."""
    pattern = r"\$\$|\$\(([^)]*)\)"
    return re.sub(
        pattern,
        lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]),
        text,
    )


def test_an_agent_takes_a_bounded_share_of_its_node(pod: dict[str, Any]) -> None:
    for container in (*pod["initContainers"], *pod["containers"]):
        resources = container["resources"]
        assert {"memory", "ephemeral-storage"} <= resources["limits"].keys()
        assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys()


@pytest.mark.parametrize(
    ("asked", "requests", "limits"),
    [
        ({"limits": {"memory": "64Mi"}}, {"memory": None}, {"memory": "64Mi"}),
        ({"requests": {"memory": "8Gi"}}, {"memory": "8Gi"}, {"memory": "8Gi"}),
        ({"requests": {"memory": "9G"}}, {"memory": "9G"}, {"memory": "9G"}),
        ({"requests": {"memory": "512Mi"}}, {"memory": "512Mi"}, {"memory": "4Gi"}),
        ({"requests": {"cpu": "2"}}, {"cpu": "2", "memory": "128Mi"}, {"cpu": None}),
        (
            {"limits": {"example.com/gpu": "1"}},
            {"cpu": "100m", "example.com/gpu": None},
            {"example.com/gpu": "1", "memory": "4Gi", "ephemeral-storage": "10Gi"},
        ),
    ],
)
def test_a_tasks_resources_replace_the_defaults(
    asked: dict[str, Any], requests: dict[str, Any], limits: dict[str, Any]
) -> None:
    found = work_resources(asked)
    assert {key: found["requests"].get(key) for key in requests} == requests
    assert {key: found["limits"].get(key) for key in limits} == limits


def test_defaults_of_limit_ranges_take_precedence() -> None:
    limits = [{"type": "Container", "max": {"memory": "1Gi"}, "default": {"cpu": "1"}}, None]
    found = limit_range_resources([{"spec": {"limits": limits}}, {"spec": None}, {}])
    assert found == {"memory", "cpu"}
    pod = agent_deployment(replace(PLAN, limit_range_resources=found))["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["limits"].keys() == {"ephemeral-storage"}
        assert container["resources"]["requests"].keys() == {"ephemeral-storage"}
    asked = work_resources({"limits": {"memory": "512Mi"}}, found)
    assert asked["limits"]["memory"] == "512Mi"


def test_volumes_are_bounded(pod: dict[str, Any]) -> None:
    """I9"""
    assert all(v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if "emptyDir" in v)


def test_only_the_template_changes_the_template_digest() -> None:
    template = agent_deployment(PLAN)["spec"]["template"]
    assert template["metadata"]["annotations"][TEMPLATE_DIGEST] == template_digest(PLAN)
    other = replace(PLAN, egress=())
    assert template_digest(other) == template_digest(PLAN)
    edited = replace(PLAN, task=replace(TASK, spec={**SPEC, "run": 4}))
    assert template_digest(edited) != template_digest(PLAN)
    parked = agent_deployment(PLAN, replicas=0)
    assert (
        parked["metadata"]["annotations"][DIGEST]
        != agent_deployment(PLAN)["metadata"]["annotations"][DIGEST]
    )


def test_the_policy_closes_everything_not_listed() -> None:
    spec = agent_network_policy(PLAN)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    ports = [p["port"] for rule in spec["ingress"] for p in rule["ports"]]
    assert ports == [8484, 8443]
    last = spec["egress"][-1]
    assert [b["ipBlock"]["cidr"] for b in last["to"]] == ["10.1.2.3/32", "fd00::1/128"]
    assert "169.254.169.254" not in json.dumps(spec)
    assert all(rule["to"] and rule["ports"] for rule in spec["egress"])


def test_without_egress_an_agent_reaches_only_dns_servers() -> None:
    dns = DnsServers(
        (DnsPods("kube-system", (("k8s-app", "kube-dns"),), (5353,)),),
        (("10.96.0.10", 53), ("10.244.0.7", 5353), ("fd00::a", 53)),
    )
    rules = agent_network_policy(replace(PLAN, egress=(), dns=dns))["spec"]["egress"]
    assert [rule["to"] for rule in rules] == [
        [
            {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": "kube-system"}
                },
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        [{"ipBlock": {"cidr": "10.96.0.10/32"}}, {"ipBlock": {"cidr": "fd00::a/128"}}],
        [{"ipBlock": {"cidr": "10.244.0.7/32"}}],
    ]
    ports = [{(p["protocol"], p["port"]) for p in rule["ports"]} for rule in rules]
    assert ports == [{("UDP", port), ("TCP", port)} for port in (5353, 53, 5353)]


def test_the_workspace_has_the_requested_size_and_class() -> None:
    assert workspace_claim(PLAN)["spec"]["resources"]["requests"] == {"storage": "5Gi"}
    agent = {"workspace": {"size": "1Gi", "storageClass": "fast"}}
    wanted = workspace_claim(replace(PLAN, task=replace(TASK, spec={**SPEC, "agent": agent})))
    assert wanted["spec"]["storageClassName"] == "fast"


def meshed(plan: Plan = PLAN, **given: Any) -> Plan:
    wanted = {"mode": "tailscale", "loginServer": "https://hs.example:8443", **given}
    return replace(plan, org=replace(plan.org, mesh=mesh_settings("acme", wanted)))


def test_a_peer_may_also_ask_its_relay_for_its_address_by_stun() -> None:
    """Without an answer it is up 4 s later. Nothing else becomes reachable by UDP."""
    egress = (("203.0.113.1", 8443), ("203.0.113.2", 22))
    plan = replace(meshed(apiSecret="mesh"), egress=egress, dns=DnsServers())

    def ports(policy: dict[str, Any]) -> list[list[tuple[str, int]]]:
        rules = policy["spec"]["egress"]
        return [[(port["protocol"], port["port"]) for port in rule["ports"]] for rule in rules]

    assert ports(agent_network_policy(plan)) == [[("TCP", 22)], [("TCP", 8443), ("UDP", 3478)]]
    without = replace(PLAN, egress=egress, dns=DnsServers())
    assert ports(agent_network_policy(without)) == [[("TCP", 22)], [("TCP", 8443)]]


def mesh_container(plan: Plan) -> dict[str, Any]:
    spec = agent_deployment(plan)["spec"]["template"]["spec"]
    found: dict[str, Any] = next(c for c in spec["containers"] if c["name"] == "mesh")
    return found


def test_a_mesh_is_one_more_container_that_delays_no_other() -> None:
    """A sidecar before `work` would keep it from starting while its image is missing."""
    spec = agent_deployment(meshed(apiSecret="mesh"))["spec"]["template"]["spec"]
    assert [c["name"] for c in spec["initContainers"]] == ["supervisor"]
    assert [c["name"] for c in spec["containers"]] == ["work", "mesh"]
    container = mesh_container(meshed(apiSecret="mesh"))
    assert not container.keys() & {"startupProbe", "readinessProbe", "livenessProbe", "command"}
    assert container["securityContext"] == security_context(10003)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["mesh-files"]["projected"]["sources"][0]["secret"]["optional"]
    assert volumes["mesh-authorities"]["secret"]["optional"]


def test_a_broken_mesh_takes_no_editor_from_its_service() -> None:
    """The pod is not ready then."""
    assert editor_service(meshed(apiSecret="m"))["spec"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in editor_service(PLAN)["spec"]


def test_the_mesh_alone_has_its_key_and_the_command_no_part_of_it() -> None:
    pod = agent_deployment(meshed(apiSecret="mesh"))["spec"]["template"]["spec"]
    mounts = {
        container["name"]: {entry["name"] for entry in container["volumeMounts"]}
        for container in (*pod["initContainers"], *pod["containers"])
    }
    assert not {name for name in mounts["work"] if name.startswith("mesh")}
    assert {name for name in mounts["supervisor"] if name.startswith("mesh")} == {"mesh-socket"}
    assert not {name for name in mounts["mesh"] if not name.startswith("mesh")}
    socket = [m for m in pod["initContainers"][0]["volumeMounts"] if m["name"] == "mesh-socket"]
    assert [m["readOnly"] for m in socket] == [True]
    assert "mesh-auth-key" not in json.dumps(pod["containers"][0]["env"])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    key = volumes["mesh-files"]["projected"]["sources"][0]["secret"]
    assert key["items"] == [{"key": "mesh-auth-key", "path": "auth-key"}]
    assert [i["key"] for i in volumes["mesh-authorities"]["secret"]["items"]] == ["ca.crt"]


def test_the_peer_serves_the_editor_and_nothing_else() -> None:
    template = agent_deployment(meshed(apiSecret="mesh"))["spec"]["template"]
    serve = json.loads(template["metadata"]["annotations"]["guildnet.io/mesh-serve"])
    assert serve == {"TCP": {"8443": {"TCPForward": "127.0.0.1:8443"}}}
    given = {
        entry["name"]: entry["value"] for entry in mesh_container(meshed(apiSecret="mesh"))["env"]
    }
    assert given["TS_HOSTNAME"] == "fix-login-acme"
    assert given["TS_AUTHKEY"] == "file:/run/guildnet/mesh-files/auth-key"
    assert given["TS_KUBE_SECRET"] == ""
    # No proxy, no routes, no DNS, no SSH, no port for metrics.
    assert not given.keys() & {
        "TS_SOCKS5_SERVER", "TS_OUTBOUND_HTTP_PROXY_LISTEN", "TS_ROUTES", "TS_DEST_IP",
        "TS_ENABLE_METRICS", "TS_ENABLE_HEALTH_CHECK", "TS_DEBUG_ADDR_PORT",
    }  # fmt: skip
    assert given["TS_ACCEPT_DNS"] == "false"
    assert given["TS_EXTRA_ARGS"] == "--login-server=https://hs.example:8443"


def test_a_peer_with_a_key_of_its_own_survives_its_container() -> None:
    def environment(**given: Any) -> dict[str, str]:
        return {e["name"]: e["value"] for e in mesh_container(meshed(**given))["env"]}

    own = environment(apiSecret="mesh", tags=["tag:a"])
    assert own["TS_STATE_DIR"]
    assert "advertise" not in own["TS_EXTRA_ARGS"]  # the key has the tags
    shared = environment(authKeySecret="mesh", tags=["tag:a", "tag:b"])
    assert "TS_STATE_DIR" not in shared  # tailscaled then logs out when it ends
    assert shared["TS_EXTRA_ARGS"].endswith(" --advertise-tags=tag:a,tag:b")


def test_the_image_of_the_mesh_can_be_the_official_one() -> None:
    assert mesh_container(meshed(apiSecret="m"))["image"] == "mesh:1"
    official = "tailscale/tailscale:v1.102.5"
    assert mesh_container(meshed(apiSecret="m", image=official))["image"] == official


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        meshed(mode="none", apiSecret="m"),
        replace(meshed(apiSecret="m"), mesh_refusal="Secret m does not exist"),
        meshed(replace(PLAN, task=replace(TASK, spec={**SPEC, "editor": {"enabled": False}}))),
    ],
)
def test_without_a_usable_mesh_or_an_editor_there_is_no_peer(plan: Plan) -> None:
    template = agent_deployment(plan)["spec"]["template"]
    assert "mesh" not in json.dumps(template)


def test_only_a_changed_mesh_changes_the_template() -> None:
    """A mesh reaches unfinished agents at their next start, and a restart changes nothing."""
    one = meshed(apiSecret="m")
    assert template_digest(one) == template_digest(meshed(apiSecret="m")) != template_digest(PLAN)
    assert template_digest(meshed(apiSecret="n")) != template_digest(one)


def test_a_sidecar_is_one_more_part_of_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component adds a container and its volumes without a change to the other parts."""

    def proxy(plan: Plan) -> PodPart:
        container = {"name": "proxy", "restartPolicy": "Always"}
        return PodPart(sidecars=(container,), volumes=({"name": "proxy-key", "emptyDir": {}},))

    monkeypatch.setattr(pod_module, "PARTS", (*pod_module.PARTS, proxy))
    pod = agent_deployment(PLAN)["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["initContainers"]] == ["supervisor", "proxy"]
    assert [c["name"] for c in pod["containers"]] == ["work"]
    assert pod["volumes"][-1]["name"] == "proxy-key"


def test_every_volume_is_mounted_and_every_mount_has_its_volume(pod: dict[str, Any]) -> None:
    containers = (*pod["initContainers"], *pod["containers"])
    mounted = {m["name"] for container in containers for m in container["volumeMounts"]}
    volumes = [volume["name"] for volume in pod["volumes"]]
    assert sorted(volumes) == sorted(mounted)


def test_the_supervisor_gets_the_model_only_if_the_task_uses_one() -> None:
    assert json.loads(task_document(PLAN))["model"] == MODEL
    spec = {**SPEC, "agent": {"command": ["sh"]}}
    without = replace(PLAN, task=replace(TASK, spec=spec))
    assert "model" not in json.loads(task_document(without))
    volumes = agent_deployment(without)["spec"]["template"]["spec"]["volumes"]
    assert not [volume for volume in volumes if volume["name"] == "model"]
