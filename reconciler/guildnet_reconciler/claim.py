"""The ConfigMap `guildnet-org`: whom a namespace belongs to, and what the operator needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guildnet import labels
from guildnet.digest import canonical_json
from guildnet.resources import Org
from guildnet_reconciler.org_state import Fault

IDENTITY = ("org", "stateRepository", "statusRoot")


def claim_data(
    org: Org,
    *,
    state_repository: str,
    status_root: str,
    attempted: str | None,
    applied: str | None,
    namespace_uid: str | None,
) -> dict[str, str]:
    """The ConfigMap's data."""
    settings = {
        "limits": org.spec.get("limits", {}),
        "mesh": org.spec.get("mesh", {}),
        "egress": org.agent_defaults.get("egress", []),
        "suspend": org.suspended,
    }
    return {
        "org": org.name,
        "stateRepository": state_repository,
        "statusRoot": status_root,
        "attempted": attempted or "",
        "applied": applied or "",
        "namespaceUID": namespace_uid or "",
        "settings": canonical_json(settings).decode(),
    }


def claim_object(org: Org, data: Mapping[str, str]) -> dict[str, Any]:
    """The ConfigMap as it is applied."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": labels.ORG_CONFIG_MAP,
            "namespace": org.cluster.namespace,
            "labels": {labels.MANAGED_BY: labels.RECONCILER, labels.ORG: org.name},
        },
        "data": dict(data),
    }


def objection(
    existing: Mapping[str, str], wanted: Mapping[str, str], namespace: str
) -> Fault | None:
    """Why a namespace that carries `existing` may not be ours; None where it is."""
    differing = [key for key in IDENTITY if existing.get(key, "") != wanted[key]]
    if not differing:
        return None
    claimed = ", ".join(f"{key} {existing.get(key) or 'nothing'}" for key in differing)
    message = (
        f"namespace {namespace} belongs to another claimant ({claimed}): give this org another "
        f"namespace, or delete the ConfigMap {labels.ORG_CONFIG_MAP} there if it is a leftover"
    )
    return Fault("NamespaceClaimed", message)
