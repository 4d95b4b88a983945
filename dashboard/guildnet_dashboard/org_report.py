"""The fields of `org.json` that pages show: cluster, revisions and problems. Pure.

Missing fields are tolerated: what an older or newer reconciler does not write is shown as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from guildnet.loading import parse_path
from guildnet.record import MachineCondition, MachinesReport
from guildnet_dashboard.json_values import mappings, number, parse_object, text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that needs a person: where it is, what failed, and what to do."""

    kind: str
    org: str
    place: str
    reason: str
    message: str
    cure: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class OrgReport:
    """The content of `org.json`. `reachable` is None if unknown."""

    reachable: bool | None
    message: str
    kubeconfig: str
    namespace: str
    attempted: str
    applied: str
    suspended: bool
    problems: tuple[Problem, ...]
    invalid: Mapping[str, str] = field(default_factory=dict)
    """Task -> error with file and line, for files that never had a valid version."""
    is_invalid: bool = False
    """Whether the org's own file never had a valid version."""
    machines: MachinesReport | None = None
    """How the org's Talos machines compare with git; None where nobody looks."""


def report_of(data: bytes, org: str) -> OrgReport:
    """Parse an `org.json`. One that cannot be parsed becomes a problem of the report."""
    try:
        content = parse_object(data)
    except ValueError as error:
        problem = Problem(
            "record",
            org,
            f"orgs/{org}/org.json",
            "Unreadable",
            f"the record on the status branch cannot be read: {error}",
            "Restore the file on the status branch; the reconciler then rewrites it.",
        )
        return OrgReport(None, "", "", "", "", "", False, (problem,))
    cluster = content.get("cluster")
    cluster = cluster if isinstance(cluster, dict) else {}
    location = content.get("location")
    location = location if isinstance(location, dict) else cluster
    reachable = cluster.get("reachable")
    invalid = _never_valid(content, org)
    machines = MachinesReport.from_json(content.get("talos"))
    return OrgReport(
        reachable=reachable if isinstance(reachable, bool) else None,
        message=text(cluster, "message"),
        kubeconfig=text(location, "kubeconfig"),
        namespace=text(location, "namespace"),
        attempted=text(content, "attempted"),
        applied=text(content, "applied"),
        suspended=content.get("suspended") is True,
        problems=(*_problems(content, cluster, org), *_machine_problems(machines, org)),
        machines=machines,
        invalid={task: error for task, error in invalid.items() if task is not None},
        is_invalid=None in invalid,
    )


def _never_valid(content: Mapping[str, Any], org: str) -> dict[str | None, str]:
    """The first error of each quarantined file that never had a valid version, by task.

    The key None is the org's own file.
    """
    found: dict[str | None, str] = {}
    for entry in mappings(content.get("quarantined")):
        identity = parse_path(text(entry, "path"))
        if identity is not None and identity.org == org and not text(entry, "lastGoodBlob"):
            error = f"{_file_and_line(entry)}: {text(entry, 'message')}"
            found.setdefault(identity.task, error)
    return found


def _file_and_line(entry: Mapping[str, Any]) -> str:
    path, line = text(entry, "path"), number(entry, "line")
    return f"{path}:{line}" if line else path


def _problems(content: Mapping[str, Any], cluster: Mapping[str, Any], org: str) -> list[Problem]:
    found = []
    if cluster.get("reachable") is False:
        message = text(cluster, "message") or "the cluster does not answer"
        place = f"cluster of {org}"
        reason = text(cluster, "reason") or "Unreachable"
        found.append(Problem("cluster", org, place, reason, message, text(cluster, "cure")))
    for kind in ("quarantined", "held", "faults"):
        found += [_problem(item, kind, org) for item in mappings(content.get(kind))]
    return found


def _machine_problems(report: MachinesReport | None, org: str) -> Iterator[Problem]:
    """The machines that are not as git says. One that was not compared yet is not a problem."""
    if report is None:
        return
    if report.problem:
        place, reason = f"machines of {org}", "MachinesNotCompared"
        yield Problem("machine", org, place, reason, report.problem, report.cure)
        return
    cure = f"See `guildnet talos diff {org}`; `guildnet talos apply {org}` makes it as git says."
    for machine in report.out_of_sync:
        if machine.state is not MachineCondition.UNKNOWN:
            reason = machine.state[0].upper() + machine.state[1:]
            message = machine.message or machine.summary
            place = f"machine {machine.address}"
            yield Problem("machine", org, place, reason, message, machine.cure or cure)


def _problem(item: Mapping[str, Any], kind: str, org: str) -> Problem:
    task = text(item, "task")
    line = number(item, "line")
    path = text(item, "path") or text(item, "place")
    if not path:
        path = f"tasks/{org}/{task}.yaml" if task else f"org {org}"
    reason = text(item, "reason") or _REASONS.get(kind, "")
    if kind == "quarantined" and not text(item, "lastGoodBlob"):
        kind, reason = "invalid", reason or "Quarantined"
    return Problem(
        kind={"quarantined": "file", "invalid": "file", "held": "held", "faults": "fault"}[kind],
        org=org,
        place=f"{path}:{line}" if line else path,
        reason=reason,
        message=text(item, "message"),
        cure=text(item, "cure") or _CURES.get(reason) or _CURES.get(kind, ""),
        task=task.rpartition("/")[2],
    )


_REASONS = {"quarantined": "Quarantined", "held": "Held"}
_CURES = {
    "MoveHeld": "Nothing starts in the new location until a commit has the trailer Approve-Move.",
    "PruneDisabled": "Nothing is deleted while prune.enabled is false in the org's file.",
    "quarantined": "Commit a corrected file; until then its last valid version stays in effect.",
    "invalid": "Commit a corrected file; it never had a valid version, so nothing runs from it.",
    "held": "Nothing is deleted until a commit has the trailer Approve-Deletions.",
}
