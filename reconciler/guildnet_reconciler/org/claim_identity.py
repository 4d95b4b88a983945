"""Which org owns a namespace, according to its ConfigMap `guildnet-org`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guildnet import labels
from guildnet_reconciler.faults import Fault

IDENTITY = ("org", "stateRepository", "statusRoot")


def data_of(config_map: Mapping[str, Any] | None) -> dict[str, str]:
    """The texts in a ConfigMap's data."""
    data = (config_map or {}).get("data")
    pairs = data.items() if isinstance(data, Mapping) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def objection(
    existing: Mapping[str, str], wanted: Mapping[str, str], namespace: str
) -> Fault | None:
    """Why a namespace whose ConfigMap holds `existing` is not ours; None where it is."""
    differing = [key for key in IDENTITY if existing.get(key, "") != wanted[key]]
    if not differing:
        return None
    claimed = ", ".join(f"{key} {existing.get(key) or 'nothing'}" for key in differing)
    message = (
        f"namespace {namespace} belongs to another claimant ({claimed}): give this org another "
        f"namespace, or delete the ConfigMap {labels.ORG_CONFIG_MAP} there if it is a leftover"
    )
    return Fault("NamespaceClaimed", message)
