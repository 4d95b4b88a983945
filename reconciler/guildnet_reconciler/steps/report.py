"""Step 9, report: the org's record, `org.json`. Pure: the same findings give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from guildnet.errors import GuildNetError
from guildnet.record import MachinesReport, OrgRecord
from guildnet.resources import ClusterRef
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.records.location import location_json
from guildnet_reconciler.records.org_records import OrgRecords
from guildnet_reconciler.steps.guard import Hold
from guildnet_reconciler.steps.load import Quarantined

UNREACHABLE_CURE = (
    "check that its API server runs and can be reached from the reconciler; it is tried again"
)


def org_record(
    org: str,
    records: OrgRecords,
    *,
    attempted: str | None,
    applied: str | None,
    cluster: Mapping[str, object],
    location: ClusterRef | None,
    namespace_uid: str | None,
    suspended: bool,
    quarantined: Iterable[Quarantined],
    held: Iterable[Hold],
    faults: Iterable[Fault],
    machines: MachinesReport | None,
) -> OrgRecord:
    """The org's record. Without a `location`, the one of its last record stays."""
    bad, holds = list(quarantined), list(held)
    before = records.org
    return OrgRecord(
        org=org,
        attempted=attempted,
        applied=applied,
        cluster=dict(cluster),
        location=location_json(location) if location else (before.location if before else {}),
        namespace_uid=namespace_uid,
        suspended=suspended,
        counts={**records.counts(), "quarantined": len(bad), "held": len(holds)},
        quarantined=tuple(entry for file in bad for entry in file.to_json()),
        held=tuple(hold.to_json() for hold in holds),
        faults=tuple(fault.to_json() for fault in faults),
        talos=machines.to_json() if machines is not None else {},
    )


def unreachable(problem: GuildNetError) -> dict[str, object]:
    """What the record reports of a cluster that cannot be used."""
    where = f"{problem.place}: " if problem.place else ""
    return {
        "reachable": False,
        "message": f"{where}{problem.message}",
        "cure": problem.cure or UNREACHABLE_CURE,
    }
