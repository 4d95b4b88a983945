"""The demo's telling: a failure names its cause, and what builds on it is not waited for (I10)."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import pytest
from rich.console import Console

from guildnet.errors import ForgeUnavailable, GuildNetError
from guildnet_cli.demo.report import Leg, in_sum, show
from guildnet_cli.demo.telling import Chapter, DemoFailed, agent_task_told, org_told, tell, until

NOW = timedelta()


class Heard:
    """A progress that remembers its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def step(self, title: str, expected: timedelta | None = None) -> AbstractContextManager[None]:
        del title, expected
        return nullcontext()


async def test_what_builds_on_a_failure_is_not_told_and_the_rest_is() -> None:
    legs: list[Leg] = []
    told: list[str] = []

    def chapter(title: str, *builds_on: str, fails: bool = False) -> Chapter:
        async def happen() -> None:
            told.append(title)
            if fails:
                raise GuildNetError("it broke", place="here")
            legs.append(Leg(title, 1.0, "well"))

        return Chapter(title, happen, builds_on)

    heard = Heard()
    chapters = [
        chapter("one"),
        chapter("two", "one", fails=True),
        chapter("three", "two"),
        chapter("four", "three"),
        chapter("five", "one"),
    ]
    assert not await tell(chapters, legs, heard)
    assert told == ["one", "two", "five"]
    assert heard.lines == [
        "  ok   one (1.0 s): well",
        "FAILED two: here: it broke",
        "skipped three: for want of: two",
        "skipped four: for want of: three",
        "  ok   five (1.0 s): well",
    ]
    assert in_sum(legs) == "Of 5 legs 1 FAILED: two; 2 skipped: three, four."


def always(found: object) -> Callable[[], Awaitable[object]]:
    async def look() -> object:
        if isinstance(found, Exception):
            raise found
        return found

    return look


async def words() -> str:
    return "Ready: ImagePullFailed, no such image"


async def test_a_wait_that_ends_in_vain_says_why() -> None:
    with pytest.raises(DemoFailed) as failure:
        await until("ready agent", always(None), NOW, why=words)
    assert str(failure.value) == (
        "no ready agent within 0 s: Ready: ImagePullFailed, no such image"
    )


async def test_a_silent_forge_is_asked_again_and_told_at_the_end() -> None:
    with pytest.raises(DemoFailed, match="no answer"):
        await until("record", always(ForgeUnavailable("no answer")), NOW, why=words)


async def test_a_service_that_has_ended_ends_the_wait_at_once() -> None:
    def check() -> None:
        raise GuildNetError("the reconciler has ended")

    with pytest.raises(GuildNetError, match="the reconciler has ended"):
        await until("AgentTask", always(None), timedelta(hours=1), check=check)


def test_what_an_agent_task_lacks_is_told() -> None:
    conditions = [
        {"type": "Accepted", "status": "True", "reason": "Valid", "message": "it is"},
        {"type": "Ready", "status": "False", "reason": "OOMKilled", "message": "too big"},
        {"type": "Succeeded", "status": "Unknown", "reason": "Active", "message": ""},
    ]
    told = agent_task_told({"status": {"conditions": conditions}})
    assert told == "Ready: OOMKilled, too big"
    assert "does the operator run?" in agent_task_told({"spec": {}})
    assert agent_task_told(None) == "its AgentTask is gone"


def test_what_keeps_an_org_from_its_tasks_is_told() -> None:
    org = {
        "cluster": {"reachable": False, "message": "no answer"},
        "faults": [{"message": "claimed"}],
        "quarantined": [{"path": "x", "message": "no YAML"}],
    }
    assert org_told(org) == "no answer; claimed; no YAML"
    assert org_told({"cluster": {"reachable": True}}) == ""
    assert "no record" in org_told(None)


def test_the_table_shows_what_agents_say_as_it_is() -> None:
    """Nothing an agent says is taken for the table's own markup."""
    out = io.StringIO()
    show([Leg("failure", None, "[sh, -c] [/bold] died")], Console(file=out, width=100))
    assert "[sh, -c] [/bold] died" in out.getvalue()
    assert "All 1 legs went well." in out.getvalue()
