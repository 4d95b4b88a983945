"""The agent's pod: the supervisor with the credentials, the work side with none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guildnet import labels
from guildnet.digest import digest
from guildnet_operator.manifests.metadata import Plan, child, child_labels, selector
from guildnet_operator.manifests.resources import supervisor_resources, work_resources
from guildnet_operator.manifests.secret import API_KEY, EDITOR_PASSWORD, TASK_DOCUMENT
from guildnet_operator.references import MODEL_KEY, config_maps, git_secrets
from guildnet_operator.views import TEMPLATE_DIGEST

GRACE_SECONDS = 120
SUPERVISOR = "supervisor"
WORK = "work"
WORKSPACE = "workspace"
MODEL_KEY_VARIABLE = "GUILDNET_MODEL_KEY"


_SCRATCH = {"sizeLimit": "2Gi"}


def agent_deployment(plan: Plan, *, replicas: int = 1) -> dict[str, Any]:
    """One replica, replaced only after its end: two agents never share a workspace."""
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 0,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selector(plan.task)},
        "template": _pod_template(plan),
    }
    return child(plan, "apps/v1", "Deployment", {"spec": spec})


def template_digest(plan: Plan) -> str:
    """What tells whether a pod is of this plan."""
    return digest(_pod_spec(plan))


def _pod_template(plan: Plan) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": child_labels(plan.task),
            "annotations": {
                TEMPLATE_DIGEST: template_digest(plan),
                "kubectl.kubernetes.io/default-container": WORK,
            },
        },
        "spec": _pod_spec(plan),
    }


def _pod_spec(plan: Plan) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": labels.AGENT_GROUP,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_supervisor(plan)],
        "containers": [_work(plan)],
        "volumes": _volumes(plan),
    }
    for field in ("runtimeClassName", "nodeSelector"):
        if field in plan.agent:
            spec[field] = plan.agent[field]
    return spec


def _supervisor(plan: Plan) -> dict[str, Any]:
    """A native sidecar: it is there before the work side and outlives it at the end."""
    return {
        "name": SUPERVISOR,
        "image": plan.operator_image,
        "restartPolicy": "Always",
        "command": ["python3", "-m", "guildnet_agent.supervisor"],
        "env": [_variable("HOME", "/home/supervisor")],
        "ports": [{"name": "agent", "containerPort": labels.AGENT_PORT}],
        "readinessProbe": _probe(labels.AGENT_PORT),
        "resources": supervisor_resources(plan.ranged),
        "securityContext": _security(labels.SUPERVISOR_UID),
        "volumeMounts": [
            _mount("agent", "/run/guildnet/agent", read_only=True),
            *(
                _mount(f"git-{index}", f"/run/guildnet/git/{name}", read_only=True)
                for index, name in enumerate(git_secrets(plan.task.spec))
            ),
            *(
                _mount(f"configmap-{index}", f"/run/guildnet/configmaps/{name}", read_only=True)
                for index, name in enumerate(config_maps(plan.task.spec))
            ),
            _mount("exchange-in", "/exchange/in"),
            _mount("exchange-out", "/exchange/out", read_only=True),
            _mount("supervisor-home", "/home/supervisor"),
            _mount("supervisor-tmp", "/tmp"),  # noqa: S108  a path in the pod
        ],
    }


def _work(plan: Plan) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": WORK,
        "image": plan.agent.get("image", plan.work_image),
        "command": ["python3", "-m", "guildnet_agent.shim"],
        "env": _work_environment(plan),
        "ports": [{"name": "editor", "containerPort": labels.EDITOR_PORT}],
        "resources": work_resources(plan.agent.get("resources", {}), plan.ranged),
        "securityContext": _security(labels.WORK_UID),
        "volumeMounts": [
            _mount(WORKSPACE, "/workspace"),
            _mount("exchange-in", "/exchange/in", read_only=True),
            _mount("exchange-out", "/exchange/out"),
            _mount("work-home", "/home/agent"),
            _mount("work-tmp", "/tmp"),  # noqa: S108  a path in the pod
        ],
    }
    if plan.editor_enabled:
        container["readinessProbe"] = _probe(labels.EDITOR_PORT)
    return container


def _work_environment(plan: Plan) -> list[dict[str, Any]]:
    task, model = plan.task, plan.agent.get("model", {})
    own = [
        _variable("HOME", "/home/agent"),
        _secret_variable("PASSWORD", plan.name, EDITOR_PASSWORD),
        _variable("GUILDNET_ORG", task.org or plan.org.org),
        _variable("GUILDNET_TASK", task.name),
        _variable("GUILDNET_RUN", str(task.run)),
        _variable("GUILDNET_EDITOR", "1" if plan.editor_enabled else "0"),
        _variable("GUILDNET_EDITOR_SUFFIX", plan.name),
    ]
    if "baseURL" in model:
        own.append(_variable("GUILDNET_MODEL_BASE_URL", model["baseURL"]))
    if "name" in model:
        own.append(_variable("GUILDNET_MODEL_NAME", model["name"]))
    if "secret" in model:
        own.append(_secret_variable(MODEL_KEY_VARIABLE, model["secret"], MODEL_KEY))
    given = [_task_variable(entry) for entry in plan.agent.get("env", ())]
    secret = [variable["name"] for variable in (*own, *given) if "valueFrom" in variable]
    own.append(_variable("GUILDNET_REDACT", ",".join(sorted(set(secret) - {"PASSWORD"}))))
    names = {variable["name"] for variable in own}
    return [*own, *(variable for variable in given if variable["name"] not in names)]


def _task_variable(entry: dict[str, Any]) -> dict[str, Any]:
    reference = entry.get("secretKeyRef")
    if reference is not None:
        return _secret_variable(entry["name"], reference["name"], reference["key"])
    return _variable(entry["name"], entry.get("value", ""))


def _variable(name: str, value: str) -> dict[str, Any]:
    # Kubernetes expands $(NAME) and turns $$ into $: each dollar doubled keeps what people wrote.
    return {"name": name, "value": value.replace("$", "$$")}


def _secret_variable(name: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _volumes(plan: Plan) -> list[dict[str, Any]]:
    own = {
        "secretName": plan.name,
        "defaultMode": 0o440,
        "items": [{"key": key, "path": key} for key in (API_KEY, TASK_DOCUMENT)],
    }
    return [
        {"name": "agent", "secret": own},
        *(
            {"name": f"git-{index}", "secret": {"secretName": name, "defaultMode": 0o440}}
            for index, name in enumerate(git_secrets(plan.task.spec))
        ),
        *(
            {"name": f"configmap-{index}", "configMap": {"name": name, "optional": True}}
            for index, name in enumerate(config_maps(plan.task.spec))
        ),
        {"name": WORKSPACE, "persistentVolumeClaim": {"claimName": plan.name}},
        *_scratch(
            "exchange-in",
            "exchange-out",
            "supervisor-home",
            "supervisor-tmp",
            "work-home",
            "work-tmp",
        ),
    ]


def _scratch(*names: str) -> Iterable[dict[str, Any]]:
    """Bounded, so that no agent fills its node's disk."""
    return ({"name": name, "emptyDir": _SCRATCH} for name in names)


def _mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def _probe(port: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/healthz", "port": port},
        "periodSeconds": 1,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    }


def _security(user: int) -> dict[str, Any]:
    return {
        "runAsUser": user,
        # Not of the pod: its sandbox has a user of its own, and containerd takes no group alone.
        "runAsGroup": labels.AGENT_GROUP,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
