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
    spec: dict[str, Any] = {
        "type": "ClusterIP",
        "selector": selector(plan.task),
        "ports": [port],
    }
    if plan.mesh is not None:
        # A mesh container that keeps ending makes the pod unready, but not its editor.
        spec["publishNotReadyAddresses"] = True
    return child(plan, "v1", "Service", {"spec": spec})
