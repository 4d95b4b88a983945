"""The claim for the volume that the command works in; created once and never changed. Pure."""

from __future__ import annotations

from typing import Any

from guildnet_operator.manifests.metadata import Plan, child

DEFAULT_SIZE = "5Gi"


def workspace_claim(plan: Plan) -> dict[str, Any]:
    wanted = plan.agent.get("workspace", {})
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": wanted.get("size", DEFAULT_SIZE)}},
    }
    if "storageClass" in wanted:
        spec["storageClassName"] = wanted["storageClass"]
    return child(plan, "v1", "PersistentVolumeClaim", {"spec": spec})
