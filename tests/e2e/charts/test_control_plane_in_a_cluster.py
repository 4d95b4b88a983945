"""The charts on a real node: the operator, two reconcilers and the dashboard from one image.

The steps build on each other, so they are one test: an installation takes most of the time.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.e2e.charts.conftest import BOT, eventually
from tests.helm import CONTROL_PLANE_CHART, OPERATOR_CHART

from guildnet import labels

if TYPE_CHECKING:
    from tests.e2e.charts.conftest import Kubectl, StateRepository
    from tests.helm import Helm

    from guildnet_devcluster.images import ImageRef

CONTROL_PLANE, SYSTEM, AGENTS = "guildnet", "chart-system", "chart-agents"
ORG = f"""\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: acme}}
spec:
  cluster: {{kubeconfig: acme, namespace: {AGENTS}}}
  agent: {{preset: shell, command: [sh, -c, "true"]}}
"""


def suspended(name: str) -> dict[str, str]:
    """A task that gets no pod: the operator reports it as suspended."""
    return {
        f"tasks/acme/{name}.yaml": f"apiVersion: guildnet.io/v1alpha1\nkind: Task\n"
        f"metadata: {{name: {name}}}\nspec: {{prompt: wait, suspend: true}}\n"
    }


def image_values(image: ImageRef) -> dict[str, str]:
    repository, _, tag = image.name.rpartition(":")
    return {"repository": repository, "tag": tag}


def test_an_org_is_served_and_survives_its_reconciler(
    helm: Helm, kubectl: Kubectl, repository: StateRepository, operator_image: ImageRef
) -> None:
    _create_namespaces(kubectl, repository)
    helm.run(
        *("install", "acme", str(OPERATOR_CHART), "--namespace", SYSTEM, "--wait"),
        *("--take-ownership", "--timeout", "150s"),
        values=_operator_values(kubectl, operator_image),
    )
    _apply_kubeconfig(kubectl)
    repository.commit({"orgs/acme.yaml": ORG, **suspended("first")})
    values = _control_plane_values(kubectl, repository, operator_image)
    try:
        helm.run(
            *("install", "guildnet", str(CONTROL_PLANE_CHART), "--namespace", CONTROL_PLANE),
            *("--wait", "--timeout", "150s"),
            values=values,
        )
        _is_served(kubectl, repository, "first")
        _leader_is_replaced(kubectl, repository)
        _kubeconfig_is_rotated(kubectl, repository)
        _pull_mode(helm, kubectl, repository, values)
    except AssertionError as error:
        error.add_note(_logs(kubectl))
        raise
    finally:
        for release, namespace in (("guildnet", CONTROL_PLANE), ("acme", SYSTEM)):
            helm.call("uninstall", release, "--namespace", namespace, "--wait")
    assert kubectl.get("agenttasks", "first", f"--namespace={AGENTS}"), "uninstall deleted a task"


def _create_namespaces(kubectl: Kubectl, repository: StateRepository) -> None:
    for name in (CONTROL_PLANE, SYSTEM):
        security = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": name, "labels": security}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        kubectl.run("apply", "--server-side", "-f", "-", manifest=namespace)
    _apply_secret(kubectl, "state-git", {"username": BOT, "token": repository.token})
    _apply_secret(kubectl, "viewers", {"token": "a-token-of-the-viewers"})


def _apply_kubeconfig(kubectl: Kubectl) -> None:
    """A kubeconfig of the account that the operator's chart makes: with few rights, and a new
    token each time."""
    config = json.loads(kubectl.run("config", "view", "--raw", "--output=json"))
    account = ("token", "guildnet-reconciler-account", f"--namespace={AGENTS}")
    config["users"][0]["user"] = {"token": kubectl.run("create", *account).strip()}
    data = {"kubeconfig": json.dumps(config)}
    _apply_secret(kubectl, "acme", data, use=labels.USE_KUBECONFIG)


def _apply_secret(kubectl: Kubectl, name: str, data: dict[str, str], use: str = "") -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {
        "name": name,
        "namespace": CONTROL_PLANE,
        "labels": {labels.USE: use} if use else {},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
    kubectl.run("apply", "--server-side", "-f", "-", manifest=secret)


def _operator_values(kubectl: Kubectl, image: ImageRef) -> dict[str, Any]:
    return {
        "org": "acme",
        "agents": {"namespace": AGENTS},
        "reconciler": {"createAccount": True},
        "image": image_values(image),
        "networkPolicy": {"apiServerPorts": [443, kubectl.api_port]},
    }


def _control_plane_values(
    kubectl: Kubectl, repository: StateRepository, image: ImageRef
) -> dict[str, Any]:
    ports = [repository.port, kubectl.api_port, 443]
    return {
        "repository": {"url": repository.url, "existingSecret": "state-git"},
        "image": image_values(image),
        "reconciler": {"poll": "1s", "networkPolicy": {"egressPorts": ports}},
        "dashboard": {
            "replicas": 1,
            "token": {"existingSecret": "viewers"},
            "insecure": True,
            "networkPolicy": {"egressPorts": ports},
        },
    }


def _is_served(kubectl: Kubectl, repository: StateRepository, task: str) -> None:
    """The AgentTask exists, the operator has reported on it, and the report is in git."""

    def reported() -> bool:
        record = repository.record(f"orgs/acme/tasks/{task}/status.json") or {}
        conditions = record.get("conditions", ())
        return any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions)

    eventually(f"report of {task}", reported, lambda: str(repository.record("orgs/acme/org.json")))


def _holder(kubectl: Kubectl) -> str:
    lease = kubectl.get("lease", labels.RECONCILER, f"--namespace={AGENTS}") or {"spec": {}}
    return str(lease["spec"].get("holderIdentity") or "")


def _pod_of(holder: str) -> str:
    """The holder is <pod>-<process>/<org>."""
    return holder.partition("/")[0].rpartition("-")[0]


def _leader_is_replaced(kubectl: Kubectl, repository: StateRepository) -> None:
    before = _holder(kubectl)
    repository.commit(suspended("second"))
    kubectl.run(
        *("delete", "pod", _pod_of(before), f"--namespace={CONTROL_PLANE}"),
        *("--grace-period=0", "--force", "--wait=false"),
    )
    eventually("another leader", lambda: _holder(kubectl) not in ("", before))
    _is_served(kubectl, repository, "second")


def _kubeconfig_is_rotated(kubectl: Kubectl, repository: StateRepository) -> None:
    """The Secret is replaced by one that does not work, and by one that works."""
    _apply_secret(kubectl, "acme", {"kubeconfig": "{}"}, use=labels.USE_KUBECONFIG)
    eventually(
        "unusable kubeconfig in the org's record",
        lambda: not repository.record("orgs/acme/org.json")["cluster"]["reachable"],
    )
    _apply_kubeconfig(kubectl)
    repository.commit(suspended("third"))
    _is_served(kubectl, repository, "third")


def _pull_mode(
    helm: Helm, kubectl: Kubectl, repository: StateRepository, values: dict[str, Any]
) -> None:
    """An upgrade of the release: the org is served with the pod's own account and few rights."""
    kubectl.run("delete", "secret", "acme", f"--namespace={CONTROL_PLANE}")
    pull = {**values["reconciler"], "org": "acme", "agentsNamespace": AGENTS, "replicas": 1}
    helm.run(
        *("upgrade", "guildnet", str(CONTROL_PLANE_CHART), "--namespace", CONTROL_PLANE),
        *("--wait", "--timeout", "150s"),
        values={**values, "reconciler": pull},
    )
    repository.commit(suspended("fourth"))
    _is_served(kubectl, repository, "fourth")


def _logs(kubectl: Kubectl) -> str:
    namespaces = (CONTROL_PLANE, SYSTEM)
    said = [
        kubectl.run("logs", f"--namespace={namespace}", "--tail=25", "--prefix", "--selector", part)
        for namespace, part in (
            (CONTROL_PLANE, "app.kubernetes.io/name=guildnet-reconciler"),
            (CONTROL_PLANE, "app.kubernetes.io/name=guildnet-dashboard"),
            (SYSTEM, "app.kubernetes.io/name=guildnet-operator"),
        )
    ]
    pods = [kubectl.run("get", "pods,events", f"--namespace={name}") for name in namespaces]
    return "\n".join([*pods, *said])
