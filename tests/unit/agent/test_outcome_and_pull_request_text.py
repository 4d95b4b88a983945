"""The failure for each result, and the title and body of the pull request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guildnet.agent_api.state import StartId
from guildnet.errors import ConfigurationError
from guildnet.forges import PullRequest
from guildnet_agent.job import Result
from guildnet_agent.supervisor.publication import as_last_pr, pick_pull_request
from guildnet_agent.supervisor.steps.outcome import find_failure
from guildnet_agent.supervisor.task import (
    author,
    published_context,
    pull_request_body,
    pull_request_title,
)

START = StartId(1, 1, 1)
RAN = Result(START, exit_code=0, started_at="2026-01-01T00:00:00Z")
PULL = PullRequest(
    url="https://h/1",
    provider="gitea",
    repository="acme/web",
    number=1,
    state="open",
    branch="guildnet/acme/fix",
    base="main",
    commit="a" * 40,
    title="t",
    created_at="2026-01-01T00:00:00Z",
    body="text\n\n---\nGuildNet-Run: acme/fix/1\n",
)


@pytest.mark.parametrize(
    ("result", "reason", "infrastructure"),
    [
        (RAN, None, None),
        (replace(RAN, exit_code=None, stopped=True), None, None),
        (replace(RAN, exit_code=1), "TaskFailed", False),
        (replace(RAN, failure="no bundle: disk full"), "TaskFailed", False),
        (replace(RAN, unbundled="git add: disk full"), "PushRejected", False),
        (Result(START, failure="context web: no space"), "ContextFailed", False),
        (Result(START, interrupted=True), "ContainerRestarted", True),
    ],
)
def test_each_result_has_its_failure_reason(
    result: Result, reason: str | None, infrastructure: bool | None
) -> None:
    """Only failures that the command did not cause cost a start instead of an attempt."""
    failure = find_failure(result, "")
    assert (failure and failure.reason) == reason
    assert (failure and failure.infrastructure) == infrastructure


def test_the_message_has_signal_and_last_lines() -> None:
    """I10."""
    failure = find_failure(replace(RAN, exit_code=137), "".join(f"line {n}\n" for n in range(50)))
    assert failure is not None
    assert "exit code 137 (SIGKILL)" in failure.message
    assert "line 49" in failure.message
    assert "line 39" not in failure.message


def test_the_pull_request_of_this_run_is_found_in_any_state() -> None:
    """I7."""
    merged = replace(PULL, state="merged", number=2)
    other = replace(PULL, state="closed", body="GuildNet-Run: acme/fix/11", number=3)
    assert pick_pull_request([other, PULL], "acme/fix/1") == PULL
    assert pick_pull_request([other, merged], "acme/fix/1") == merged
    assert pick_pull_request([other], "acme/fix/1") is None
    assert pick_pull_request([], "acme/fix/1") is None


def test_last_pr_json_has_the_pushed_commit_and_stays_small() -> None:
    long = replace(PULL, title="x" * 5000)
    reported = as_last_pr(long, "b" * 40)
    assert reported["commit"] == "b" * 40
    assert len(reported["title"]) == 256
    assert as_last_pr(replace(PULL, state="merged"), "b" * 40)["commit"] == "a" * 40


def test_title_body_and_author() -> None:
    spec: dict[str, Any] = {"prompt": "\n  " + "word " * 40 + "\nmore", "pullRequest": {}}
    assert len(pull_request_title(spec)) == 72
    assert pull_request_body(spec, "GuildNet-Run: a/b/1").splitlines()[-1] == "GuildNet-Run: a/b/1"
    spec["pullRequest"] = {"title": "Mine", "body": "Because"}
    assert pull_request_title(spec) == "Mine"
    assert pull_request_body(spec, "T: x") == "Because\n\n---\nT: x\n"
    assert author(spec) == ("GuildNet Agent", "agent@guildnet.invalid")
    spec["agent"] = {"env": [{"name": "GIT_AUTHOR_NAME", "value": "Me"}, {"name": "K"}]}
    assert author(spec)[0] == "Me"


def test_only_a_git_context_can_be_published() -> None:
    """I10."""
    spec: dict[str, Any] = {"prompt": "x", "context": [{"name": "a", "text": "t"}]}
    assert published_context(spec) is None
    spec["pullRequest"] = {"context": "a"}
    with pytest.raises(ConfigurationError, match="is not the name of a git context"):
        published_context(spec)
