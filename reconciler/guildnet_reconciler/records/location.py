"""The location of an org in its record: kubeconfig, context and namespace."""

from __future__ import annotations

from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef


def location_json(location: ClusterRef) -> dict[str, str]:
    """A location as `org.json` holds it."""
    context = {"context": location.context} if location.context else {}
    return {"kubeconfig": location.kubeconfig, **context, "namespace": location.namespace}


def location_of(record: OrgRecord | None) -> ClusterRef | None:
    """The location where the org last worked; None where its record has none."""
    found = record.location if record is not None else {}
    if "kubeconfig" not in found or "namespace" not in found:
        return None
    return ClusterRef(found["kubeconfig"], found["namespace"], found.get("context"))
