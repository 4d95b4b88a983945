"""The supervisor's part of the pod: the container that holds the task's credentials. Pure."""

from __future__ import annotations

from typing import Any

from guildnet import labels
from guildnet_operator.manifests.containers import (
    PodPart,
    http_probe,
    mount,
    scratch,
    security_context,
    variable,
)
from guildnet_operator.manifests.mesh import MESH_SOCKET, MESH_SOCKET_DIR
from guildnet_operator.manifests.metadata import Plan
from guildnet_operator.manifests.resources import supervisor_resources
from guildnet_operator.manifests.secret import API_KEY, TASK_DOCUMENT
from guildnet_operator.references import AUTHORITIES, MODEL_KEY, config_maps, git_secrets
from guildnet_operator.views import Json

SUPERVISOR = "supervisor"


def supervisor(plan: Plan) -> PodPart:
    """A sidecar: it serves before the command starts, and publishes after the command ends."""
    return PodPart(sidecars=(_container(plan),), volumes=tuple(_volumes(plan)))


def _container(plan: Plan) -> dict[str, Any]:
    return {
        "name": SUPERVISOR,
        "image": plan.operator_image,
        "restartPolicy": "Always",
        "command": ["python3", "-m", "guildnet_agent.supervisor"],
        "env": [variable("HOME", "/home/supervisor")],
        "ports": [{"name": "agent", "containerPort": labels.AGENT_PORT}],
        "readinessProbe": http_probe(labels.AGENT_PORT),
        "resources": supervisor_resources(plan.limit_range_resources),
        "securityContext": security_context(labels.SUPERVISOR_UID),
        "volumeMounts": [
            mount("agent", "/run/guildnet/agent", read_only=True),
            *(
                mount(f"git-{index}", f"/run/guildnet/git/{name}", read_only=True)
                for index, name in enumerate(git_secrets(plan.task.spec))
            ),
            *(
                mount(f"configmap-{index}", f"/run/guildnet/configmaps/{name}", read_only=True)
                for index, name in enumerate(config_maps(plan.task.spec))
            ),
            *([mount("model", "/run/guildnet/model", read_only=True)] if plan.model else []),
            *([mount(MESH_SOCKET, MESH_SOCKET_DIR, read_only=True)] if plan.mesh else []),
            mount("exchange-in", "/exchange/in"),
            mount("exchange-out", "/exchange/out", read_only=True),
            mount("supervisor-home", "/home/supervisor"),
            mount("supervisor-tmp", "/tmp"),  # noqa: S108  a path in the pod
        ],
    }


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
        *([_model_volume(plan.model)] if plan.model else []),
        *scratch("exchange-in", "supervisor-home", "supervisor-tmp"),
    ]


def _model_volume(model: Json) -> dict[str, Any]:
    """The key, and the endpoint's authorities if the Secret has them; its other keys are not for
    agents."""

    def source(key: str, *, optional: bool) -> dict[str, Any]:
        items = [{"key": key, "path": key}]
        return {"secret": {"name": model["secret"], "items": items, "optional": optional}}

    sources = [source(MODEL_KEY, optional=False), source(AUTHORITIES, optional=True)]
    return {"name": "model", "projected": {"defaultMode": 0o440, "sources": sources}}
