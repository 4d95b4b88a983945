"""The org in force: from its file, its last good version, or what its record says of it."""

from __future__ import annotations

from guildnet.errors import Problem
from guildnet.loading import MAX_FILE_BYTES, parse_path
from guildnet.outcome import Done, Outcome, Stalled
from guildnet.record import OrgRecord
from guildnet.resources import Org, Source, org_path
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.org.state import OrgState
from guildnet_reconciler.records.location import location_of
from guildnet_reconciler.records.org_records import OrgRecords
from guildnet_reconciler.source.org_source import OrgSource, SourceTree
from guildnet_reconciler.steps.load import Quarantined, load_org_file


def remember(state: OrgState, record: OrgRecord | None) -> None:
    """Take up what the status branch says of earlier passes."""
    if record is None:
        return
    state.attempted, state.applied = record.attempted, record.applied
    state.namespace_uid = record.namespace_uid
    for entry in record.quarantined:
        problem = Problem(entry.get("path", ""), entry.get("line", 0), entry.get("message", ""))
        bad = Quarantined("", (problem,), entry.get("lastGoodBlob"))
        identity = parse_path(problem.path)
        if identity is None:
            continue
        if identity.task is None:
            state.org_quarantine = bad
        else:
            state.quarantined[identity.task] = bad


async def load_org(
    state: OrgState,
    source: OrgSource,
    record: OrgRecord | None,
    tree: SourceTree,
    threads: ThreadShare,
) -> Outcome:
    """Put the org in force into `state.org`; Stalled where there is none.

    Where its file is bad and nothing is remembered, the file of the revision attempted last is in
    force: the reconciler may have been down when it turned bad.
    """
    file = source.org_file
    state.orphans = 0
    if file is None:
        return _without_file(state, source, record)
    known = state.org_quarantine.blob if state.org_quarantine else None
    if state.org is not None and file.blob in (state.org.source.blob, known):
        if file.blob == state.org.source.blob:
            state.org_quarantine = None
        return Done()
    good = state.org.source.blob if state.org else None
    if good is None and state.org_quarantine is not None:
        good = state.org_quarantine.last_good
    if good is None:
        good = await threads.run(_attempted_blob, state, tree)
    org, state.org_quarantine = await threads.run(
        load_org_file,
        file,
        good,
        source.revision,
        lambda ids: tree.mirror.read_blobs(ids, max_bytes=MAX_FILE_BYTES),
    )
    if org is None:
        problems = state.org_quarantine.problems if state.org_quarantine else ()
        return Stalled("OrgInvalid", "; ".join(map(str, problems)))
    state.org = org
    return Done()


def _attempted_blob(state: OrgState, tree: SourceTree) -> str | None:
    if state.attempted is None or tree.mirror.resolve(state.attempted) is None:
        return None
    found = tree.mirror.lookup(f"{state.attempted}:{org_path(state.name)}")
    return found.id if found is not None and found.type == "blob" else None


def is_gone(state: OrgState, source: OrgSource, records: OrgRecords) -> bool:
    """Whether nothing is left of an org but tombstones: no file, no place, no task."""
    has_place = state.org is not None or location_of(records.org) is not None
    return source.org_file is None and not (
        has_place or source.remaining or records.recorded or records.unreadable
    )


def _without_file(state: OrgState, source: OrgSource, record: OrgRecord | None) -> Outcome:
    """An org whose file is gone is known from its record; its tasks are kept (I1)."""
    location = location_of(record)
    state.org_quarantine = None
    if state.org is None and location is None:
        state.orphans = source.remaining
        message = f"there is no {org_path(state.name)} for its {source.remaining} tasks: add it"
        state.fault = Fault("OrgMissing", message)
        return Stalled("OrgMissing", message)
    if state.org is None and location is not None:
        state.org = Org(state.name, location, {}, Source(org_path(state.name)))
    return Done()
