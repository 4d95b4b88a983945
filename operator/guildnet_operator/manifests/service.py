"""The Service of the agent's editor. Pure."""

from __future__ import annotations

from typing import Any

from guildnet import labels
from guildnet_operator.manifests.metadata import Plan, child, selector


def editor_service(plan: Plan) -> dict[str, Any]:
    port = {
        "name": "editor",
        "port": labels.EDITOR_PORT,
        "targetPort": labels.EDITOR_PORT,
        "protocol": "TCP",
        "appProtocol": "http",
    }
    spec = {"type": "ClusterIP", "selector": selector(plan.task), "ports": [port]}
    return child(plan, "v1", "Service", {"spec": spec})
