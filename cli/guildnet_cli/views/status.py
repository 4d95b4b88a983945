"""A snapshot of the status branch as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guildnet.conditions import READY, TASK_SUCCEEDED, TYPES, find
from guildnet.record import MachineCondition, MachinesReport, OrgRecord, TaskRecord, usage_text
from guildnet.resources import task_path
from guildnet_cli.output import printable, printable_line, table
from guildnet_cli.repository.status_branch import NotRecorded, StatusSnapshot

MAX_MACHINES_SHOWN = 20
MAX_LINES_SHOWN = 10


class View:
    """What `guildnet status` shows: everything, one org, or one task.

    Raises NotRecorded where the branch has no record of the org or task.
    """

    def __init__(self, snapshot: StatusSnapshot, org: str | None, task: str | None) -> None:
        self._snapshot = snapshot
        self._task = snapshot.tasks.get((org, task)) if org and task else None
        known = {*snapshot.orgs, *(name for name, _ in snapshot.tasks)}
        if (task and self._task is None) or (org and org not in known):
            reasons = _why_missing(snapshot.orgs.get(org or ""), task)
            raise NotRecorded(
                f"no record of {org}/{task}{reasons}" if task else f"no record of org {org}",
                place="the status branch",
                cure="Check the name. A new org or task appears a few seconds after its commit.",
            )

    @property
    def has_trouble(self) -> bool:
        """Whether a person must act: the task shown failed, or something blocks an org."""
        if self._task is not None:
            return self._task.finished and self._task.result != TASK_SUCCEEDED
        return bool(self._snapshot.unreadable) or any(
            record.quarantined
            or record.held
            or record.faults
            or _unreachable(record)
            or _has_machines_out_of_sync(record)
            for record in self._snapshot.orgs.values()
        )

    def to_json(self) -> dict[str, Any]:
        if self._task is not None:
            return self._task.to_json()
        return {
            "statusRevision": self._snapshot.commit,
            "orgs": {name: record.to_json() for name, record in self._snapshot.orgs.items()},
            "tasks": [record.to_json() for _, record in sorted(self._snapshot.tasks.items())],
            "unreadable": [problem.to_json() for problem in self._snapshot.unreadable],
        }

    def to_text(self) -> str:
        if self._task is not None:
            return "\n".join(_task_lines(self._task))
        blocks = [
            "\n".join([*_org_lines(record)]) for _, record in sorted(self._snapshot.orgs.items())
        ]
        rows = [_row(record) for _, record in sorted(self._snapshot.tasks.items())]
        if rows:
            blocks.append(table(("TASK", "RUN", "PHASE", "RESULT", "PULL REQUEST", "WHY"), rows))
        blocks += [str(problem) for problem in self._snapshot.unreadable]
        return "\n\n".join(blocks) or "No orgs or tasks recorded yet."


def _why_missing(record: OrgRecord | None, task: str | None) -> str:
    """Why a task has no record, as far as its org's record tells."""
    if record is None or task is None:
        return ""
    path = task_path(record.org, task)
    reasons = [
        *(_message(record.cluster) for _ in range(_unreachable(record))),
        *(f"{f.get('reason', '')}: {_message(f)}" for f in record.faults if f.get("task") == task),
        *(f"quarantined: {_message(q)}" for q in record.quarantined if q.get("path") == path),
    ]
    return "".join(f"\n  {reason}" for reason in reasons)


def _unreachable(record: OrgRecord) -> bool:
    return record.cluster.get("reachable") is False


def _has_machines_out_of_sync(record: OrgRecord) -> bool:
    report = MachinesReport.from_json(record.talos)
    if report is None:
        return False
    bad = [m for m in report.out_of_sync if m.state is not MachineCondition.UNKNOWN]
    return bool(report.problem or bad)


def _org_lines(record: OrgRecord) -> Iterator[str]:
    counts = ", ".join(_counted(number, name) for name, number in record.counts.items() if number)
    applied = record.applied[:12] if record.applied else "nothing yet"
    suspended = "  suspended" if record.suspended else ""
    yield f"{record.org}: {counts or 'no tasks'}; applied {applied}{suspended}"
    if _unreachable(record):
        yield f"  cluster unreachable: {_message(record.cluster)}"
    for fault in record.faults:
        about = f" {fault['task']}" if fault.get("task") else ""
        yield f"  {fault.get('reason', 'fault')}{about}: {_message(fault)}"
    for entry in record.quarantined:
        place = f"{entry.get('path')}:{entry['line']}" if entry.get("line") else entry.get("path")
        kept = "; the last valid version stays in force" if entry.get("lastGoodBlob") else ""
        yield f"  quarantined {place}: {_message(entry)}{kept}"
    for entry in record.held:
        what = entry.get("task") or "the whole org"
        yield f"  held {what}: {entry.get('reason', '')} {_message(entry)}"
    report = MachinesReport.from_json(record.talos)
    if report is not None:
        yield from _machine_lines(report)


def _machine_lines(report: MachinesReport) -> Iterator[str]:
    """The machines that are not as git says, with the first of their changed lines."""
    bad = report.out_of_sync
    if report.problem:
        problem = {"message": report.problem, "cure": report.cure}
        yield f"  Talos machines cannot be compared: {_message(problem)}"
        return
    total = len(report.machines)
    yield f"  Talos machines: {total - len(bad)} of {total} as git says"
    for machine in bad[:MAX_MACHINES_SHOWN]:
        reason = {"message": machine.message, "cure": machine.cure}
        said = f": {_message(reason)}" if machine.message else ""
        yield f"  machine {printable(machine.address)}: {machine.summary}{said}"
        for line in machine.diff[:MAX_LINES_SHOWN]:
            yield f"      {printable_line(line)}"
    if len(bad) > MAX_MACHINES_SHOWN:
        yield f"  and {len(bad) - MAX_MACHINES_SHOWN} more machines: see -o json"


def _counted(number: int, name: str) -> str:
    return f"{number} {name.removesuffix('s') if number == 1 and name == 'tasks' else name}"


def _message(entry: Mapping[str, Any]) -> str:
    cure = f" ({printable(str(entry['cure']))})" if entry.get("cure") else ""
    return printable(str(entry.get("message", ""))) + cure


def _row(record: TaskRecord) -> tuple[str, ...]:
    return (
        f"{record.org}/{record.task}",
        str(record.run),
        record.phase or "-",
        record.result or "-",
        str((record.pull_request or {}).get("url") or "-"),
        _why(record),
    )


def _why(record: TaskRecord) -> str:
    """The message that explains the task's state, cut to fit a table."""
    if record.finished:
        return "" if record.result == TASK_SUCCEEDED else printable(record.message)[:100]
    ready = find(record.conditions, READY)
    return printable(f"{ready['reason']}: {ready['message']}")[:100] if ready else ""


def _task_lines(record: TaskRecord) -> Iterator[str]:
    state = record.result or record.phase or "Pending"
    yield f"{record.org}/{record.task}  run {record.run}, attempt {record.attempt}: {state}"
    for label, value in _facts(record):
        if value:
            yield f"  {label + ':':<14}{printable(str(value))}"
    rows = [
        (kind, c["status"], c["reason"], c.get("lastTransitionTime", ""), c.get("message", ""))
        for kind in TYPES
        if (c := find(record.conditions, kind)) is not None
    ]
    if rows:
        yield ""
        yield table(("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"), rows)
    if record.artifacts:
        yield ""
        yield table(
            ("ARTIFACT", "BYTES", "SHA256"),
            [(str(a["name"]), str(a["bytes"]), str(a["sha256"])[:12]) for a in record.artifacts],
        )
    if record.history:
        yield ""
        yield table(
            ("EARLIER RUN", "RESULT", "FINISHED", "PULL REQUEST", "USAGE"),
            [
                (
                    str(e["run"]),
                    str(e["result"]),
                    e.get("finishedAt", ""),
                    e.get("pullRequest", ""),
                    usage_text(e.get("usage")),
                )
                for e in record.history
            ],
        )


def mesh_text(editor: Mapping[str, Any] | None) -> str:
    """A peer's name and addresses on the mesh; empty without one."""
    peer = (editor or {}).get("mesh")
    if not isinstance(peer, Mapping):
        return ""
    addresses = peer.get("addresses")
    listed = ", ".join(map(str, addresses)) if isinstance(addresses, list) else ""
    return f"{peer.get('name', '')} ({listed})"


def _facts(record: TaskRecord) -> Iterator[tuple[str, Any]]:
    pull_request = record.pull_request or {}
    yield "message", record.message
    yield "pull request", pull_request.get("url")
    yield "branch", record.branch
    yield "commit", record.commit
    yield "started", record.started_at
    yield "finished", record.finished_at
    yield "usage", usage_text(record.usage)
    yield "pod", record.pod
    yield "node", record.node
    yield "mesh", mesh_text(record.editor)
    yield "revision", record.source_revision
