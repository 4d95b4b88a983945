"""An org's AgentTasks as the plan needs them: a few fields of each, never the whole object.

The recorder gets the object when it is observed; it is not kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from sys import intern
from typing import Any

from guildnet import conditions, labels
from guildnet.merge import spec_digest
from guildnet.names import is_name
from guildnet.units import parse_duration, parse_time

MAX_REFUSED = 20
"""Refused objects that are listed; a hostile cluster could report any number."""

_OUR_FINALIZER = (labels.RECORDED_FINALIZER,)

OWN_ANNOTATIONS = (
    labels.SOURCE_PATH,
    labels.SOURCE_BLOB,
    labels.SPEC_DIGEST,
    labels.DEFAULTS_DIGEST,
    labels.RUN_DIGEST,
)


@dataclass(frozen=True, slots=True)
class ObservedTask:
    """One AgentTask in the cluster.

    `owned` says that it carries our label and the org's. `actual_digest` is the digest of its spec
    and of the labels we wrote, as they are now: it differs from `spec_digest`, the one we wrote
    down, if they were changed in the cluster; then `found` is the changed spec. `others` are field
    managers other than ours that own something in the spec or took one of our labels.
    `expires_at` is when its TTL ends (None while it is not finished).
    """

    name: str
    uid: str
    resource_version: str
    owned: bool
    deleting: datetime | None
    finalizers: tuple[str, ...]
    run: int
    run_digest: str
    source_path: str
    source_blob: str
    source_revision: str
    spec_digest: str
    actual_digest: str
    defaults_digest: str
    continues: str | None = None
    depends_on: tuple[str, ...] = ()
    dependencies_succeeded: bool = False
    started: bool = False
    finished: bool = False
    expires_at: datetime | None = None
    others: tuple[str, ...] = ()
    found: Mapping[str, Any] | None = None

    @property
    def is_tampered(self) -> bool:
        """Whether its spec or our labels are not as we wrote them."""
        return self.actual_digest != self.spec_digest

    @property
    def is_guarded(self) -> bool:
        """Whether it stays until its record is written, or is going already."""
        return self.deleting is not None or labels.RECORDED_FINALIZER in self.finalizers

    def plans_as(self, other: ObservedTask) -> bool:
        """Whether a plan decides the same for this task and `other`."""
        mine, others = (
            replace(task, resource_version="", started=False, others=(), found=None)
            for task in (self, other)
        )
        return mine == others


def observe(obj: Mapping[str, Any], org: str) -> ObservedTask:
    """The projection of one AgentTask, seen by `org`.

    `obj` is as `guildnet.record.reported` returns it; its spec may still hold anything. Raises
    ValueError for one that cannot be understood, nothing else.
    """
    try:
        return _observed(obj, org)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError("its spec or metadata cannot be understood") from error


def _observed(obj: Mapping[str, Any], org: str) -> ObservedTask:
    meta = obj["metadata"]
    spec: Mapping[str, Any] = obj.get("spec") or {}
    status: Mapping[str, Any] = obj.get("status") or {}
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    present: Mapping[str, str] = meta.get("labels") or {}
    managed = meta.get("managedFields") or ()
    own = {key: present[key] for key in _own_labels(managed) if key in present}
    run = spec.get("run")
    deleting = meta.get("deletionTimestamp")
    finished = isinstance(run, int) and conditions.is_finished(status, run)
    written, actual = annotations.get(labels.SPEC_DIGEST, ""), spec_digest(spec, own)
    return ObservedTask(
        name=intern(meta["name"]),
        uid=intern(meta["uid"]),
        resource_version=intern(meta["resourceVersion"]),
        owned=present.get(labels.MANAGED_BY) == labels.RECONCILER
        and present.get(labels.ORG) == org,
        deleting=parse_time(deleting) if deleting else None,
        finalizers=_finalizers(meta.get("finalizers", ())),
        run=run if isinstance(run, int) else 0,
        run_digest=_kept_once(annotations.get(labels.RUN_DIGEST, "")),
        source_path=_kept_once(annotations.get(labels.SOURCE_PATH, "")),
        source_blob=_kept_once(annotations.get(labels.SOURCE_BLOB, "")),
        source_revision=_kept_once(annotations.get(labels.SOURCE_REVISION, "")),
        spec_digest=written,
        actual_digest=written if written == actual else actual,
        defaults_digest=_kept_once(annotations.get(labels.DEFAULTS_DIGEST, "")),
        continues=_text(spec.get("continues")),
        depends_on=tuple(filter(is_name, spec.get("dependsOn") or ())),
        dependencies_succeeded=bool(spec.get("dependenciesSucceeded", False)),
        started=bool(status.get("start")),
        finished=finished,
        expires_at=_expiry(spec, status) if finished else None,
        others=tuple(sorted(_others(managed))),
        found=spec if written != actual else None,
    )


def _finalizers(found: Iterable[str]) -> tuple[str, ...]:
    """Nearly every AgentTask has ours alone: they share one tuple."""
    own = tuple(map(_kept_once, found))
    return _OUR_FINALIZER if own == _OUR_FINALIZER else own


def _kept_once(value: Any) -> Any:
    """The interned text: equal texts of many objects share one copy."""
    return intern(value) if type(value) is str else value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _own_labels(managed: Iterable[Mapping[str, Any]]) -> list[str]:
    """The labels that our server-side apply owns still."""
    for entry in managed:
        if entry.get("manager") == labels.RECONCILER and entry.get("operation") == "Apply":
            fields = entry.get("fieldsV1")
            for part in ("f:metadata", "f:labels"):
                fields = fields.get(part) if isinstance(fields, Mapping) else None
            keys = fields if isinstance(fields, Mapping) else ()
            return [key.removeprefix("f:") for key in keys if key != "."]
    return []


def _others(managed: Iterable[Mapping[str, Any]]) -> set[str]:
    return {
        str(entry.get("manager"))
        for entry in managed
        if entry.get("manager") != labels.RECONCILER
        and not entry.get("subresource")
        and isinstance(fields := entry.get("fieldsV1"), Mapping)
        and ("f:spec" in fields or "f:metadata" in fields)
    }


def _expiry(spec: Mapping[str, Any], status: Mapping[str, Any]) -> datetime | None:
    ttl, ended = spec.get("ttlAfterFinished"), status.get("finishedAt")
    try:
        return parse_time(ended) + parse_duration(ttl) if ttl and ended else None
    except (ValueError, OverflowError):
        return None


def shown_name(name: str) -> str:
    """A name from a cluster as messages show it: printable and short."""
    return name if is_name(name) else ascii(name[:60])


@dataclass
class Inventory:
    """The AgentTasks of one namespace by name, and which wait for which others.

    `refused` maps the printable name of an object to why it, or a part of it, is not accepted.
    """

    tasks: dict[str, ObservedTask] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _dependents: dict[str, set[str]] = field(default_factory=dict)

    def put(self, task: ObservedTask) -> ObservedTask | None:
        """Store `task`; return what was stored before."""
        before = self.tasks.get(task.name)
        if before is None or before.depends_on != task.depends_on:
            self._unlink(before)
            for dependency in task.depends_on:
                self._dependents.setdefault(dependency, set()).add(task.name)
        self.tasks[task.name] = task
        return before

    def refuse(self, name: str, why: str | None) -> None:
        """Remember why an object, or a part of it, is not taken; None where all of it is."""
        shown = shown_name(name)
        if why is None:
            self.refused.pop(shown, None)
        elif shown in self.refused or len(self.refused) < MAX_REFUSED:
            self.refused[shown] = why

    def drop(self, name: str, uid: str) -> ObservedTask | None:
        """Forget the object of that name and UID; a newer one of the same name stays."""
        before = self.tasks.get(name)
        if before is None:
            self.refuse(name, None)
        if before is None or (uid and before.uid != uid):
            return None
        self.refuse(name, None)
        self._unlink(before)
        return self.tasks.pop(name)

    def dependents_of(self, task: str) -> frozenset[str]:
        """Tasks in the cluster that wait for `task`."""
        return frozenset(self._dependents.get(task, ()))

    def _unlink(self, task: ObservedTask | None) -> None:
        for dependency in task.depends_on if task else ():
            waiting = self._dependents.get(dependency, set())
            waiting.discard(task.name if task else "")
            if not waiting:
                self._dependents.pop(dependency, None)
