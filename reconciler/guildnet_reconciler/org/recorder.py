"""From an AgentTask's status to its record: what is learned at once, what is fetched first, and
when an AgentTask may go for good."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from guildnet import labels
from guildnet.agent_api.artifacts import LAST_PR, LAST_RUN
from guildnet.digest import readable_json
from guildnet.errors import KubeNotFound
from guildnet.kube import CONFIG_MAPS, KubeClient
from guildnet.names import is_object_name
from guildnet.record import LOG_TAIL, TaskRecord, record_of, restored
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.org.state import OrgState
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.records.org_records import RecordedRun
from guildnet_reconciler.steps.observe import ObservedTask

MAX_BODIES_BYTES = 1024 * 1024
"""Of one task's artifacts together: a ConfigMap, which they come in, holds no more."""

UNREPORTED_GRACE = timedelta(seconds=180)
"""How long a deleted AgentTask is kept for an operator that says nothing of it: its grace of
120 s, and what it takes to report."""


def record_status(obj: Mapping[str, Any], state: OrgState, status: StatusWriter) -> bool:
    """Record what an AgentTask's status says; whether its run's result is news.

    Where artifacts are new, their bodies are fetched first: the object is put into
    `state.awaiting_artifacts`.
    """
    name, records = obj["metadata"]["name"], status.of(state.name)
    if name in records.unreadable:
        return False  # what it holds is not to be overwritten by a guess
    removed = records.removed.get(name)
    # A task that comes back goes on with the history that its tombstone kept.
    previous = records.get(name) or (restored(removed) if removed is not None else None)
    try:
        ended = _end_of_the_run_before(obj, state.name, previous)
        record = record_of(obj, state.name, ended or previous)
    except (KeyError, TypeError, ValueError):
        # Its run or our annotations were changed in the cluster; the plan restores them.
        return False
    if record is None or record == previous:
        return False
    if ended is not None and ended.digest:
        status.put_task(ended, _status_files(obj, ended))
        previous = ended
    if record.artifacts and (previous is None or record.artifacts != previous.artifacts):
        state.awaiting_artifacts[name] = _kept(obj)
        return False
    state.unrecorded.pop(name, None)
    status.put_task(record, _status_files(obj, record))
    return record.result is not None and (previous is None or previous.result != record.result)


def _end_of_the_run_before(
    obj: Mapping[str, Any], org: str, previous: TaskRecord | None
) -> TaskRecord | None:
    """How the run before ended, where that is seen only when the next has been asked for: the end
    and our write of the next run crossed, so that the status is still of the one before. What its
    words were is known only where it is on record already."""
    status: Mapping[str, Any] = obj.get("status") or {}
    told = status.get("run")
    if not isinstance(told, int) or told >= int(obj["spec"]["run"]):
        return None
    if previous is not None and (previous.run, previous.finished) >= (told, True):
        return None
    same = previous if previous is not None and previous.run == told else None
    meta, spec = obj["metadata"], {**obj["spec"], "run": told}
    annotations = {
        **meta["annotations"],
        labels.RUN_DIGEST: same.digest if same else "",
        labels.SOURCE_BLOB: same.source_blob if same else None,
        labels.SOURCE_REVISION: same.source_revision if same else None,
    }
    as_it_was = {**obj, "metadata": {**meta, "annotations": annotations}, "spec": spec}
    ended = record_of(as_it_was, org, previous)
    return ended if ended is not None and ended.finished else None


async def record_with_artifacts(
    name: str, state: OrgState, status: StatusWriter, client: KubeClient
) -> bool:
    """Fetch the artifacts of one task and record it; as `record_status`. Raises KubeUnavailable."""
    obj = state.awaiting_artifacts[name]
    previous = status.of(state.name).get(name)
    record = record_of(obj, state.name, previous)
    if record is None:
        state.awaiting_artifacts.pop(name, None)
        return False
    bodies, missing = await _bodies(obj, client, record)
    state.unrecorded.pop(name, None)
    if missing:
        message = (
            f"the operator's ConfigMap has no usable body of {', '.join(sorted(missing))}: "
            f"each must have the size and digest that the status names"
        )
        state.unrecorded[name] = Fault("ArtifactsMissing", message, name)
    status.put_task(record, {**_status_files(obj, record), **bodies})
    if state.awaiting_artifacts.get(name) is obj:
        state.awaiting_artifacts.pop(name)
    return record.result is not None and (previous is None or previous.result != record.result)


def _kept(obj: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": meta}


def _status_files(obj: Mapping[str, Any], record: TaskRecord) -> dict[str, bytes]:
    """The artifacts that the status holds itself."""
    status: Mapping[str, Any] = obj.get("status") or {}
    if status.get("run") != record.run:
        return {}
    files: dict[str, bytes] = {}
    for key, name in (("pullRequest", LAST_PR), ("lastRun", LAST_RUN)):
        if status.get(key):
            files[name] = readable_json(status[key])
    if status.get("logTail"):
        files[LOG_TAIL] = str(status["logTail"]).encode(errors="replace")
    return files


async def _bodies(
    obj: Mapping[str, Any], client: KubeClient, record: TaskRecord
) -> tuple[dict[str, bytes], set[str]]:
    """Bodies by name, each of the size and digest that the status tells; and which are missing."""
    wanted = {str(entry["name"]): entry for entry in record.artifacts}
    wanted = {name: e for name, e in wanted.items() if name not in _status_files(obj, record)}
    config_map = (obj.get("status") or {}).get("artifactsConfigMap")
    kept: Any = {}
    if wanted and isinstance(config_map, str) and is_object_name(config_map):
        with suppress(KubeNotFound):
            kept = (await client.get(CONFIG_MAPS, config_map)).get("binaryData")
    good: dict[str, bytes] = {}
    for name, entry in wanted.items():
        body = _body(kept.get(name) if isinstance(kept, Mapping) else None, entry)
        if body is not None and sum(map(len, good.values())) + len(body) <= MAX_BODIES_BYTES:
            good[name] = body
    return good, wanted.keys() - good.keys()


def _body(encoded: Any, entry: Mapping[str, Any]) -> bytes | None:
    if not isinstance(encoded, str) or len(encoded) > 2 * MAX_BODIES_BYTES:
        return None
    try:
        body = base64.b64decode(encoded)
    except ValueError:
        return None
    return body if hashlib.sha256(body).hexdigest() == entry.get("sha256") else None


def is_fully_recorded(
    observed: ObservedTask,
    known: RecordedRun | None,
    *,
    awaiting_artifacts: bool,
    pushed: bool,
    now: datetime,
) -> bool:
    """Whether the finalizer of a deleted AgentTask may be lifted: nothing of it is left to tell."""
    if observed.deleting is None or awaiting_artifacts or not pushed:
        return False
    if known is not None and known.run == observed.run and known.result is not None:
        return True
    return not observed.started or now - observed.deleting > UNREPORTED_GRACE
