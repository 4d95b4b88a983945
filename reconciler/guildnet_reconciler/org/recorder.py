"""Writes an AgentTask's status into its record; new artifacts are fetched first."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from guildnet import labels
from guildnet.agent_api.artifacts import LAST_PR, LAST_RUN
from guildnet.digest import readable_json
from guildnet.errors import KubeNotFound
from guildnet.kube import CONFIG_MAPS, KubeClient
from guildnet.names import is_object_name
from guildnet.record import LOG_TAIL, TaskRecord, record_of, restored
from guildnet_reconciler.faults import Fault
from guildnet_reconciler.records.branch import StatusWriter

MAX_BODIES_BYTES = 1024 * 1024
"""Of one task's artifacts together: the operator delivers them in one ConfigMap."""


class Recorder:
    """Records the AgentTasks of one org."""

    def __init__(
        self,
        org: str,
        status: StatusWriter,
        on_change: Callable[[TaskRecord | None, TaskRecord], None],
    ) -> None:
        """`on_change` is called with the record before and after each change of a task's record."""
        self.unrecorded: dict[str, Fault] = {}
        """Tasks of which a part could not be recorded, until more of it is."""
        self._awaiting: dict[str, dict[str, Any]] = {}
        self._org = org
        self._status = status
        self._on_change = on_change

    @property
    def awaiting_artifacts(self) -> tuple[str, ...]:
        """Tasks that are recorded once their artifacts have been fetched."""
        return tuple(self._awaiting)

    def is_awaiting(self, task: str) -> bool:
        return task in self._awaiting

    def retry_later(self, task: str, obj: dict[str, Any]) -> None:
        """The next pass records this AgentTask."""
        self._awaiting[task] = obj

    def forget(self, task: str) -> None:
        """The AgentTask is gone from the cluster."""
        self.unrecorded.pop(task, None)

    def record_status(self, obj: Mapping[str, Any]) -> bool:
        """Record what an AgentTask's status reports; return whether its run has a new result.

        Where the status names new artifacts, nothing is recorded yet: the task is awaiting them.
        """
        name, records = obj["metadata"]["name"], self._status.of(self._org)
        if name in records.unreadable:
            return False  # a record that cannot be read must not be overwritten by a guess
        removed = records.removed.get(name)
        # A task that comes back continues the history that its tombstone kept.
        previous = records.get(name) or (restored(removed) if removed is not None else None)
        try:
            ended = _end_of_previous_run(obj, self._org, previous)
            record = record_of(obj, self._org, ended or previous)
        except (KeyError, TypeError, ValueError):
            # Its run or our annotations were changed in the cluster; the plan restores them.
            return False
        if record is None or record == previous:
            return False
        if ended is not None and ended.digest:
            self._put(previous, ended, _status_files(obj, ended))
            previous = ended
        if record.artifacts and (previous is None or record.artifacts != previous.artifacts):
            self._awaiting[name] = _without_managed_fields(obj)
            return False
        self.unrecorded.pop(name, None)
        self._put(previous, record, _status_files(obj, record))
        return _has_new_result(record, previous)

    async def record_with_artifacts(self, name: str, client: KubeClient) -> bool:
        """Fetch the artifacts of one task, then record it; return whether its run has a new result.

        Raises KubeUnavailable.
        """
        obj = self._awaiting[name]
        previous = self._status.of(self._org).get(name)
        record = record_of(obj, self._org, previous)
        if record is None:
            self._awaiting.pop(name, None)
            return False
        bodies, missing = await _bodies(obj, client, record)
        self.unrecorded.pop(name, None)
        if missing:
            message = (
                f"the operator's ConfigMap has no usable body of {', '.join(sorted(missing))}: "
                f"each must have the size and digest that the AgentTask's status names"
            )
            self.unrecorded[name] = Fault("ArtifactsMissing", message, name)
        self._put(previous, record, {**_status_files(obj, record), **bodies})
        if self._awaiting.get(name) is obj:
            self._awaiting.pop(name)
        return _has_new_result(record, previous)

    def _put(
        self, before: TaskRecord | None, record: TaskRecord, files: Mapping[str, bytes]
    ) -> None:
        self._status.put_task(record, files)
        self._on_change(before, record)


def _has_new_result(record: TaskRecord, previous: TaskRecord | None) -> bool:
    return record.result is not None and (previous is None or previous.result != record.result)


def _end_of_previous_run(
    obj: Mapping[str, Any], org: str, previous: TaskRecord | None
) -> TaskRecord | None:
    """How the previous run ended, where its end crossed with our write of the next run.

    The status is then still that of the previous run. The run's digest is known only if the run
    is already recorded.
    """
    status: Mapping[str, Any] = obj.get("status") or {}
    reported = status.get("run")
    if not isinstance(reported, int) or reported >= int(obj["spec"]["run"]):
        return None
    if previous is not None and (previous.run, previous.finished) >= (reported, True):
        return None
    same = previous if previous is not None and previous.run == reported else None
    meta, spec = obj["metadata"], {**obj["spec"], "run": reported}
    annotations = {
        **meta["annotations"],
        labels.RUN_DIGEST: same.digest if same else "",
        labels.SOURCE_BLOB: same.source_blob if same else None,
        labels.SOURCE_REVISION: same.source_revision if same else None,
    }
    as_it_was = {**obj, "metadata": {**meta, "annotations": annotations}, "spec": spec}
    ended = record_of(as_it_was, org, previous)
    return ended if ended is not None and ended.finished else None


def _without_managed_fields(obj: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": meta}


def _status_files(obj: Mapping[str, Any], record: TaskRecord) -> dict[str, bytes]:
    """The artifacts that the status itself holds."""
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
    """The bodies whose digest is the one in the status, by name; and the names of all others."""
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
