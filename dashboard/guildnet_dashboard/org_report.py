"""`org.json` as the pages need it: cluster, revisions, and everything that needs somebody. Pure.

Tolerant of what is missing: a field that an older or newer reconciler does not write is shown as
unknown, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guildnet.loading import parse_path
from guildnet_dashboard.json_values import parse_object
from guildnet_dashboard.states import mappings, number, text


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that needs somebody: where it is, what it is, and what to do."""

    kind: str
    org: str
    place: str
    reason: str
    message: str
    cure: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class OrgReport:
    """What `org.json` says. `reachable` is None where it does not say."""

    reachable: bool | None
    message: str
    kubeconfig: str
    namespace: str
    attempted: str
    applied: str
    suspended: bool
    problems: tuple[Problem, ...]
    invalid: Mapping[str, str] = field(default_factory=dict)
    """Task -> what is wrong, with file and line, where no version of its file was ever valid."""
    is_invalid: bool = False
    """The same of the org's own file."""


def report_of(data: bytes, org: str) -> OrgReport:
    """The report in the bytes of an `org.json`; one that is none is itself a problem."""
    try:
        content = parse_object(data)
    except ValueError as error:
        problem = Problem(
            "record",
            org,
            f"orgs/{org}/org.json",
            "Unreadable",
            f"the record on the status branch cannot be read: {error}",
            "Restore the file on the status branch; the reconciler writes it again.",
        )
        return OrgReport(None, "", "", "", "", "", False, (problem,))
    cluster = content.get("cluster")
    cluster = cluster if isinstance(cluster, dict) else {}
    location = content.get("location")
    location = location if isinstance(location, dict) else cluster
    reachable = cluster.get("reachable")
    invalid = _never_valid(content, org)
    return OrgReport(
        reachable=reachable if isinstance(reachable, bool) else None,
        message=text(cluster, "message"),
        kubeconfig=text(location, "kubeconfig"),
        namespace=text(location, "namespace"),
        attempted=text(content, "attempted"),
        applied=text(content, "applied"),
        suspended=content.get("suspended") is True,
        problems=tuple(_problems(content, cluster, org)),
        invalid={task: words for task, words in invalid.items() if task is not None},
        is_invalid=None in invalid,
    )


def _never_valid(content: Mapping[str, Any], org: str) -> dict[str | None, str]:
    """The first problem of each quarantined file without a last good version, by task; None for
    the org's own file."""
    found: dict[str | None, str] = {}
    for entry in mappings(content.get("quarantined")):
        identity = parse_path(text(entry, "path"))
        if identity is not None and identity.org == org and not text(entry, "lastGoodBlob"):
            words = f"{_file_place(entry)}: {text(entry, 'message')}"
            found.setdefault(identity.task, words)
    return found


def _file_place(entry: Mapping[str, Any]) -> str:
    path, line = text(entry, "path"), number(entry, "line")
    return f"{path}:{line}" if line else path


def _problems(content: Mapping[str, Any], cluster: Mapping[str, Any], org: str) -> list[Problem]:
    found = []
    if cluster.get("reachable") is False:
        message = text(cluster, "message") or "the cluster gives no answer"
        place = f"cluster of {org}"
        reason = text(cluster, "reason") or "Unreachable"
        found.append(Problem("cluster", org, place, reason, message, text(cluster, "cure")))
    for kind in ("quarantined", "held", "faults"):
        found += [_problem(item, kind, org) for item in mappings(content.get(kind))]
    return found


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
    "MoveHeld": "Nothing starts in the new place until a commit has the trailer Approve-Update.",
    "PruneDisabled": "Nothing is deleted while the org's prune.enabled is false.",
    "quarantined": "Commit a corrected file; until then its last good version stays in force.",
    "invalid": "Commit a corrected file; no version of it was ever valid, so nothing of it runs.",
    "held": "Nothing is deleted until a commit has the trailer Approve-Deletions.",
}
