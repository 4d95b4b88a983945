"""Where an org is at work, as `org.json` says it."""

from __future__ import annotations

from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef


def location_json(location: ClusterRef) -> dict[str, str]:
    """As `org.json` says it."""
    context = {"context": location.context} if location.context else {}
    return {"kubeconfig": location.kubeconfig, **context, "namespace": location.namespace}


def location_of(record: OrgRecord | None) -> ClusterRef | None:
    """Where an org was last at work, as its record says."""
    found = record.location if record is not None else {}
    if "kubeconfig" not in found or "namespace" not in found:
        return None
    return ClusterRef(found["kubeconfig"], found["namespace"], found.get("context"))
