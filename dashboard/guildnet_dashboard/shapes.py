"""What the API's objects look like. Pure."""

from __future__ import annotations

from typing import Any

from guildnet_dashboard.chronicle import Touched
from guildnet_dashboard.detail import Artifact
from guildnet_dashboard.history import Moment
from guildnet_dashboard.report import Trouble
from guildnet_dashboard.snapshot import OrgView, Row, Snapshot, troubles


def revision_json(snapshot: Snapshot) -> dict[str, str]:
    return {"status": snapshot.status, "source": snapshot.source}


def org_json(org: OrgView) -> dict[str, Any]:
    """An org in a list of them."""
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
        "problems": [trouble_json(trouble) for trouble in troubles(org)],
    }


def row_json(row: Row) -> dict[str, Any]:
    """A task in a list of them."""
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


def trouble_json(trouble: Trouble) -> dict[str, Any]:
    return {
        "kind": trouble.kind,
        "org": trouble.org,
        "task": trouble.task,
        "place": trouble.place,
        "reason": trouble.reason,
        "message": trouble.message,
        "cure": trouble.cure,
    }


def artifact_json(artifact: Artifact) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "bytes": artifact.bytes,
        "sha256": artifact.sha256,
        "content": artifact.content,
    }


def moment_json(moment: Moment) -> dict[str, Any]:
    return {
        "commit": moment.commit,
        "when": moment.when.isoformat(),
        "subject": moment.subject,
        "run": moment.run,
        "changes": [step.words for step in moment.steps],
    }


def touched_json(touched: Touched) -> dict[str, Any]:
    return {
        "commit": touched.info.sha,
        "when": touched.info.when.isoformat(),
        "subject": touched.info.subject,
        "source": touched.source,
        "changed": [f"{org}/{task}" if task else org for org, task in touched.places],
    }
