"""The task as the operator wrote it to ``task.json``, and values derived from a start's spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guildnet.errors import ConfigurationError
from guildnet.labels import agent_branch, checkpoint_branch, run_trailer
from guildnet_agent.supervisor.work_branch import WorkBranch

Spec = Mapping[str, Any]

MAX_TASK_BYTES = 1024 * 1024
AUTHOR_NAME = "GuildNet Agent"
AUTHOR_EMAIL = "agent@guildnet.invalid"
_TITLE_CHARACTERS = 72


@dataclass(frozen=True)
class Task:
    """The task as the operator wrote it. ``secret_hosts``: where each git Secret may be used;
    ``model``: the entry of the org's models that it uses, None where it uses none."""

    org: str
    name: str
    spec: Spec
    secret_hosts: Mapping[str, tuple[str, ...]]
    model: Mapping[str, Any] | None = field(default=None)

    def trailer(self, run: int) -> str:
        return run_trailer(self.org, self.name, run)

    def own_branch(self, run: int) -> WorkBranch:
        """The run's own branch, for a run that does not continue an earlier one."""
        return WorkBranch(
            agent_branch(self.org, self.name, run),
            self.trailer(run),
            checkpoint_branch(self.org, self.name, run),
        )


def read_task(agent_dir: Path) -> Task:
    """Read ``task.json``. ConfigurationError says what is missing or invalid in it."""
    path = agent_dir / "task.json"
    try:
        with open(path, "rb") as file:
            raw = json.loads(file.read(MAX_TASK_BYTES))
        hosts = {secret: tuple(item.get("hosts", ())) for secret, item in raw["gitSecrets"].items()}
        return Task(raw["org"], raw["task"], raw["spec"], hosts, raw.get("model"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"not a task: {error!r}",
            place=str(path),
            cure="delete the task's Secret and its pod: the operator creates both again",
        ) from error


def published_context(spec: Spec) -> Mapping[str, Any] | None:
    """The git context that the pull request is for; None if nothing is published."""
    wanted = spec.get("pullRequest")
    if wanted is None:
        return None
    for context in spec.get("context", ()):
        if "git" in context and context["name"] == wanted.get("context", context["name"]):
            return dict(context)
    raise ConfigurationError(
        f"pullRequest.context is not the name of a git context: {wanted.get('context')!r}",
        place="pullRequest.context",
        cure="name one of the task's git contexts",
    )


def pull_request_title(spec: Spec) -> str:
    """The title from the spec, or else the first line of the prompt, shortened."""
    title = spec.get("pullRequest", {}).get("title")
    if title:
        return str(title)
    lines = [line.strip() for line in str(spec["prompt"]).splitlines() if line.strip()]
    first = lines[0] if lines else "Work of an agent"
    return first if len(first) <= _TITLE_CHARACTERS else first[: _TITLE_CHARACTERS - 1] + "…"


def pull_request_body(spec: Spec, trailer_line: str) -> str:
    """The body from the spec, or else the prompt; ends with the trailer of its run."""
    text = spec.get("pullRequest", {}).get("body") or spec["prompt"]
    return f"{str(text)[:60_000].rstrip()}\n\n---\n{trailer_line}\n"


def author(spec: Spec) -> tuple[str, str]:
    """Name and e-mail of the author, from the task's environment or the defaults."""
    env = {
        item["name"]: item["value"]
        for item in spec.get("agent", {}).get("env", ())
        if "value" in item
    }
    return (
        env.get("GIT_AUTHOR_NAME", AUTHOR_NAME),
        env.get("GIT_AUTHOR_EMAIL", AUTHOR_EMAIL),
    )
