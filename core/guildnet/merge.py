"""Merges an org's defaults with a task into the AgentTask for the cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guildnet import labels
from guildnet.agent_rules import agent_problems
from guildnet.digest import digest
from guildnet.errors import InvalidResource, Problem
from guildnet.model_rules import model_problems, with_model
from guildnet.resources import Org, Task

DEFAULTS: Mapping[str, Any] = {
    "editor": {"enabled": True, "afterFinished": "1h"},
    "timeout": "2h",
    "retries": 2,
    "priority": 0,
    "ttlAfterFinished": "24h",
    "onChange": "Restart",
    "suspend": False,
    "cancel": False,
}


@dataclass(frozen=True, slots=True)
class RunRef:
    """The run that an AgentTask is for, and the reconciler's facts about it."""

    number: int
    continues: str | None = None
    dependencies_succeeded: bool = True


def agent_task_spec(org: Org, task: Task, run: RunRef) -> dict[str, Any]:
    """The complete spec of an AgentTask: the task's values over the org's over the defaults.

    Raises InvalidResource for a merged spec that cannot start.
    """
    own = task.spec.get("agent", {})
    agent = with_model(merge_agent(org.agent_defaults, own), own, org.models)
    messages = [
        *agent_problems(agent, task.spec["prompt"]),
        *model_problems(agent, own, org.models),
    ]
    problems = [Problem(task.source.path, 0, message) for message in messages]
    if problems:
        raise InvalidResource(problems)
    spec: dict[str, Any] = {**DEFAULTS, **task.spec, "agent": {"preset": "shell", **agent}}
    spec["editor"] = {**DEFAULTS["editor"], **task.spec.get("editor", {})}
    spec["run"] = run.number
    if run.continues is not None:
        spec["continues"] = run.continues
    if "dependsOn" in spec:
        spec["dependenciesSucceeded"] = run.dependencies_succeeded
    return spec


def merge_agent(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `own` over `defaults`: maps by key, env by name; other values are replaced."""
    merged: dict[str, Any] = dict(defaults)
    for key, value in own.items():
        under = merged.get(key)
        if key == "env" and under is not None:
            merged[key] = _merge_env(under, value)
        elif isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[key] = merge_agent(under, value)
        else:
            merged[key] = value
    return merged


def _merge_env(
    under: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    by_name = {entry["name"]: entry for entry in (*under, *own)}
    return list(by_name.values())


def agent_task(org: Org, task: Task, run: RunRef) -> dict[str, Any]:
    """The whole object that the reconciler applies."""
    spec = agent_task_spec(org, task, run)
    own_labels = {
        **task.labels,
        labels.MANAGED_BY: labels.RECONCILER,
        labels.ORG: task.org,
    }
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {
            "name": task.name,
            "namespace": org.cluster.namespace,
            "labels": own_labels,
            "annotations": {
                labels.SOURCE_PATH: task.source.path,
                labels.SOURCE_BLOB: task.source.blob,
                labels.SOURCE_REVISION: task.source.revision,
                labels.RUN_DIGEST: task.run_digest,
                labels.SPEC_DIGEST: spec_digest(spec, own_labels),
                labels.DEFAULTS_DIGEST: org.defaults_digest,
            },
            "finalizers": [labels.RECORDED_FINALIZER],
        },
        "spec": spec,
    }


def spec_digest(spec: Mapping[str, Any], own_labels: Mapping[str, str]) -> str:
    """A digest of the spec and the labels that we write; a difference means drift."""
    return digest({"spec": spec, "labels": own_labels})
