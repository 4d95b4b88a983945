"""The JSON objects of the API. Pure."""

from __future__ import annotations

from typing import Any

from guildnet_dashboard.org_report import Problem
from guildnet_dashboard.snapshot import OrgView, Snapshot, TaskRow, problems_of
from guildnet_dashboard.status_commits import StatusCommit
from guildnet_dashboard.task_detail import ShownArtifact
from guildnet_dashboard.timeline import TimelineEntry


def revision_json(snapshot: Snapshot) -> dict[str, str]:
    return {"status": snapshot.status, "source": snapshot.source}


def org_json(org: OrgView) -> dict[str, Any]:
    """An entry in the list of orgs."""
    report = org.report
    return {
        "name": org.name,
        "cluster": {
            "reachable": report.reachable if report else None,
            "message": report.message if report else "",
            "namespace": report.namespace if report else "",
        },
        "attempted": report.attempted if report else "",
        "applied": report.applied if report else "",
        "tasks": len(org.tasks),
        "counts": {str(state): count for state, count in org.counts.items()},
        "problems": [problem_json(problem) for problem in problems_of(org)],
    }


def row_json(row: TaskRow) -> dict[str, Any]:
    """An entry in a list of tasks."""
    record = row.record
    pull_request = record.pull_request if record else None
    return {
        "org": row.org,
        "task": row.name,
        "state": str(row.state),
        "reason": row.reason,
        "message": row.message,
        "run": record.run if record else 0,
        "attempt": record.attempt if record else 0,
        "createdAt": record.created if record else "",
        "startedAt": record.started if record else "",
        "finishedAt": record.finished if record else "",
        "updatedAt": record.updated if record else "",
        "pullRequest": {
            "text": pull_request.text,
            "url": pull_request.url,
            "state": pull_request.state,
        }
        if pull_request
        else None,
        "committed": row.source is not None,
    }


def problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "org": problem.org,
        "task": problem.task,
        "place": problem.place,
        "reason": problem.reason,
        "message": problem.message,
        "cure": problem.cure,
    }


def artifact_json(artifact: ShownArtifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "bytes": artifact.bytes,
        "sha256": artifact.sha256,
        "content": artifact.content,
    }


def timeline_entry_json(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "commit": entry.commit,
        "when": entry.when.isoformat(),
        "subject": entry.subject,
        "run": entry.run,
        "changes": [change.text for change in entry.changes],
    }


def status_commit_json(commit: StatusCommit) -> dict[str, Any]:
    return {
        "commit": commit.info.sha,
        "when": commit.info.when.isoformat(),
        "subject": commit.subject,
        "source": commit.source,
        "changed": [f"{org}/{task}" if task else org for org, task in commit.changed],
    }
