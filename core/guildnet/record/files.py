"""The records on the status branch: their fields, and their JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from guildnet import labels


@dataclass(frozen=True)
class OrgRecord:
    """`org.json` of one org.

    `cluster` is {"reachable", "message", "cure"}; `location` {"kubeconfig", "context",
    "namespace"}; `counts` numbers by name (tasks, active, succeeded, failed, quarantined, held).
    `quarantined` lists {"path", "line", "message", "lastGoodBlob"}, `held` {"task", "reason",
    "message"} (task "" where the whole org is held), `faults` {"reason", "message", "task"} for
    errors of an org, a task or the repository. `talos` is the JSON of a `MachinesReport`; empty
    where the reconciler does not look at the org's machines. `notices` lists notifications that are
    not delivered yet (see `notify.notices`), `incidents` counts those about the org, by event.
    """

    org: str
    attempted: str | None = None
    applied: str | None = None
    cluster: Mapping[str, Any] = field(default_factory=dict)
    location: Mapping[str, Any] = field(default_factory=dict)
    namespace_uid: str | None = None
    suspended: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    quarantined: tuple[Mapping[str, Any], ...] = ()
    held: tuple[Mapping[str, Any], ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    talos: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[Mapping[str, Any], ...] = ()
    incidents: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of the file, without empty fields."""
        return {"apiVersion": labels.API_VERSION, "kind": "OrgRecord", **_written(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> OrgRecord:
        """Raises TypeError for content that is not a record."""
        _check(content, org=str, cluster=Mapping, location=Mapping, counts=Mapping, talos=Mapping)
        _check(content, notices=list, incidents=Mapping)
        return cls(**_read(cls, content))


@dataclass(frozen=True)
class TaskRecord:
    """`status.json` of one task. `result` is a reason of Succeeded, None until the run finishes.

    Field names in the file are the camelCase of these. `conditions` lists the AgentTask's own;
    `artifacts` lists {"name", "bytes", "sha256"}; `history` lists earlier runs, newest first.
    `usage` is of the whole run; the part of it that AgentTasks before the one named by `uid` used,
    in a cluster that was lost, is in `earlier_usage` as well.
    """

    org: str
    task: str
    run: int
    digest: str
    result: str | None = None
    message: str = ""
    phase: str = ""
    attempt: int = 0
    start: int = 0
    usage: Mapping[str, Any] | None = None
    earlier_usage: Mapping[str, Any] | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    branch: str | None = None
    commit: str | None = None
    pull_request: Mapping[str, Any] | None = None
    editor: Mapping[str, Any] | None = None
    pod: str | None = None
    node: str | None = None
    uid: str | None = None
    source_revision: str | None = None
    source_blob: str | None = None
    conditions: tuple[Mapping[str, Any], ...] = ()
    artifacts: tuple[Mapping[str, Any], ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def finished(self) -> bool:
        return self.result is not None

    def to_json(self) -> dict[str, Any]:
        """The content of the file, without null and empty fields."""
        return {"apiVersion": labels.API_VERSION, "kind": "TaskRecord", **_written(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TaskRecord:
        """Raises TypeError for content that is not a record: nothing may be guessed."""
        _check(content, org=str, task=str, run=int, digest=str, result=str, history=list)
        _check(content, attempt=int, start=int, usage=Mapping, earlierUsage=Mapping)
        return cls(**_read(cls, content))


def _written(record: OrgRecord | TaskRecord) -> dict[str, Any]:
    return {
        _camel(f.name): list(value) if isinstance(value, tuple) else value
        for f in fields(record)
        if (value := getattr(record, f.name)) not in (None, (), "", 0, {})
    }


def _read(kind: type[OrgRecord | TaskRecord], content: Mapping[str, Any]) -> dict[str, Any]:
    known = {_camel(f.name): f.name for f in fields(kind)}
    return {
        known[key]: tuple(value) if isinstance(value, list) else value
        for key, value in content.items()
        if key in known
    }


def _check(content: Mapping[str, Any], **kinds: type) -> None:
    """Raise TypeError for a field of another type. The record decides which may be missing."""
    for name, kind in kinds.items():
        found = content.get(name)
        if found is not None and (not isinstance(found, kind) or isinstance(found, bool)):
            raise TypeError(f"{name} is not a {kind.__name__}")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join("UID" if part == "uid" else part.capitalize() for part in rest)


@dataclass(frozen=True)
class Removed:
    """`removed/<task>.json`: a task that left the source branch. Its numbering lives on, and so
    does what the ledger has counted of its last run."""

    org: str
    task: str
    run: int
    digest: str
    result: str | None
    history: tuple[Mapping[str, Any], ...] = field(default=())
    attempt: int = 0
    start: int = 0
    usage: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, record: TaskRecord) -> Removed:
        return cls(**{f.name: getattr(record, f.name) for f in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        kept = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v}
        return {"apiVersion": labels.API_VERSION, "kind": "RemovedTask", **kept}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Removed:
        """Raises KeyError or TypeError for content that is not a record."""
        _check(content, org=str, task=str, run=int, digest=str, result=str, history=list)
        _check(content, attempt=int, start=int, usage=Mapping)
        return cls(
            content["org"],
            content["task"],
            content["run"],
            content["digest"],
            content.get("result"),
            tuple(content.get("history", ())),
            content.get("attempt", 0),
            content.get("start", 0),
            content.get("usage"),
        )
