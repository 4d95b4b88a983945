"""Step 9, report: what an org's pass came to, as `org.json` says it. Pure.

The same state gives the same record, whatever the order of what led to it.
"""

from __future__ import annotations

from guildnet.errors import GuildNetError, KubeError
from guildnet.record import OrgRecord
from guildnet.resources import ClusterRef
from guildnet_reconciler.org.state import OrgState
from guildnet_reconciler.records.location import location_json
from guildnet_reconciler.records.org_records import OrgRecords

UNREACHABLE_CURE = "see that its API server runs and can be reached from here; it is tried again"


def org_record(
    state: OrgState, records: OrgRecords, problem: GuildNetError | None, location: ClusterRef | None
) -> OrgRecord:
    """The org's record; `problem` is why its cluster cannot be worked with, None where it can."""
    bad = sorted(state.quarantined.items())
    quarantined = [entry for _, quarantine in bad for entry in quarantine.to_json()]
    if state.org_quarantine is not None:
        quarantined = state.org_quarantine.to_json() + quarantined
    held = sorted(state.held.values(), key=lambda hold: hold.task)
    faults = [*state.repository_faults, *([state.fault] if state.fault else [])]
    faults += [*state.defects, *state.refused]
    for group in (state.failed, state.unrecorded):
        faults += [group[name] for name in sorted(group)]
    before = records.org
    return OrgRecord(
        org=state.name,
        attempted=state.attempted,
        applied=state.applied,
        cluster=_cluster(problem, state),
        location=location_json(location) if location else (before.location if before else {}),
        namespace_uid=state.namespace_uid,
        suspended=state.org is not None and state.org.suspended,
        counts={
            **records.counts(),
            "quarantined": len(state.quarantined) + (state.org_quarantine is not None),
            "held": len(held) + (state.org_hold is not None),
        },
        quarantined=tuple(quarantined),
        held=tuple(h.to_json() for h in ([state.org_hold] if state.org_hold else []) + held),
        faults=tuple(fault.to_json() for fault in faults),
    )


def _cluster(problem: GuildNetError | None, state: OrgState) -> dict[str, object]:
    if problem is None:
        return {"reachable": True}
    if isinstance(problem, KubeError) and state.outage is not None:
        return dict(state.outage)
    where = f"{problem.place}: " if problem.place else ""
    return {
        "reachable": False,
        "message": f"{where}{problem.message}",
        "cure": problem.cure or UNREACHABLE_CURE,
    }
