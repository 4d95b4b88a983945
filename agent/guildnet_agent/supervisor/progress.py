"""How far a start has come; recovered from its journal after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from guildnet.agent_api.artifacts import Artifact, RejectedArtifact
from guildnet.agent_api.state import AgentState, ContextProgress, Failure, Published, StartId
from guildnet.units import parse_time, rfc3339
from guildnet_agent.job import Job, Result, parse_job, parse_result, to_json
from guildnet_agent.supervisor.journal import Entry


@dataclass(frozen=True)
class Progress:
    """One start. ``spent`` is the model usage of its run before it.

    ``job`` is set once the shim has it, ``exhausted`` once the budget is spent, ``result`` once the
    command's result and bundle are copied, ``final`` once the start is over.
    """

    id: StartId
    spec: Mapping[str, Any]
    spent: Mapping[str, Any] | None = None
    job: Job | None = None
    branch: str | None = None
    may_continue: bool = False
    running_since: datetime | None = None
    exhausted: str | None = None
    result: Result | None = None
    final: AgentState | None = None


def job_data(job: Job, branch: str | None, may_continue: bool) -> dict[str, Any]:
    return {"job": json.loads(to_json(job)), "branch": branch, "mayContinue": may_continue}


def ended_data(result: Result) -> dict[str, Any]:
    return {"result": json.loads(to_json(result))}


def recover(entries: Sequence[Entry]) -> Progress | None:
    """The start in a journal; None for an empty journal."""
    progress: Progress | None = None
    for entry in entries:
        data = entry.data
        if entry.event == "begun" or progress is None:
            progress = Progress(entry.id, data["spec"], data.get("spent"))
        elif entry.event == "handed_over":
            job = parse_job(json.dumps(data["job"]).encode())
            progress = replace(
                progress, job=job, branch=data["branch"], may_continue=data["mayContinue"]
            )
        elif entry.event == "running":
            progress = replace(progress, running_since=parse_time(data["at"]))
        elif entry.event == "exhausted":
            progress = replace(progress, exhausted=data["message"])
        elif entry.event == "ended":
            result = parse_result(json.dumps(data["result"]).encode(), entry.id)
            progress = replace(progress, result=result)
        elif entry.event == "finished":
            progress = replace(progress, final=load_state(data))
    return progress


def dump_state(state: AgentState) -> dict[str, Any]:
    data = asdict(state)
    start = {name: data.pop(name) for name in ("run", "attempt", "start")}
    times = {
        name: None if data[name] is None else rfc3339(data[name])
        for name in ("started_at", "finished_at")
    }
    return {"id": start, **data, **times}


def load_state(data: Mapping[str, Any]) -> AgentState:
    """The state that `dump_state` wrote."""
    return AgentState(
        **{
            **{name: value for name, value in data.items() if name != "id"},
            **data["id"],
            "started_at": _time(data["started_at"]),
            "finished_at": _time(data["finished_at"]),
            "failure": Failure(**data["failure"]) if data["failure"] else None,
            "published": Published(**data["published"]) if data["published"] else None,
            "contexts": tuple(ContextProgress(**item) for item in data["contexts"]),
            "artifacts": tuple(Artifact(**item) for item in data["artifacts"]),
            "rejected_artifacts": tuple(
                RejectedArtifact(**item) for item in data["rejected_artifacts"]
            ),
            "editor_serving": False,
        }
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
