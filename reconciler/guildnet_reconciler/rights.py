"""The rights that the reconciler needs in the namespace of an org's AgentTasks, and in no other."""

from __future__ import annotations

from typing import Any

from guildnet import labels

RULES: list[dict[str, Any]] = [
    {
        "apiGroups": [labels.GROUP],
        "resources": [labels.PLURAL],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    # guildnet-org, and artifacts
    {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "verbs": ["get", "create", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]
