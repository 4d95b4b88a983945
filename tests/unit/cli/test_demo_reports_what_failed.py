"""The demo's report: a failure names its cause, and steps that depend on it are skipped (I10)."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import pytest
from rich.console import Console

from guildnet.errors import ForgeUnavailable, GuildNetError
from guildnet_demo.report import Leg, show, summary
from guildnet_demo.steps import DemoFailed, Step, explain_agent_task, explain_org, run_steps, until
from guildnet_devcluster.progress import StepProgress, StepState

NOW = timedelta()


class RecordedProgress:
    """A progress that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def step(
        self, title: str, expected: timedelta | None = None
    ) -> AbstractContextManager[StepProgress]:
        del title
        return nullcontext(StepState(expected))


async def test_steps_that_depend_on_a_failure_are_skipped_and_the_others_run() -> None:
    legs: list[Leg] = []
    ran: list[str] = []

    def step(title: str, *depends_on: str, fails: bool = False) -> Step:
        async def happen() -> None:
            ran.append(title)
            if fails:
                raise GuildNetError("it broke", place="here")
            legs.append(Leg(title, 1.0, "well"))

        return Step(title, happen, depends_on)

    progress = RecordedProgress()
    steps = [
        step("one"),
        step("two", "one", fails=True),
        step("three", "two"),
        step("four", "three"),
        step("five", "one"),
    ]
    assert not await run_steps(steps, legs, progress)
    assert ran == ["one", "two", "five"]
    assert progress.lines == [
        "  ok   one (1.0 s): well",
        "FAILED two: here: it broke",
        "skipped three: depends on: two",
        "skipped four: depends on: three",
        "  ok   five (1.0 s): well",
    ]
    assert summary(legs) == "Of 5 legs 1 FAILED: two; 2 skipped: three, four."


def always(found: object) -> Callable[[], Awaitable[object]]:
    async def look() -> object:
        if isinstance(found, Exception):
            raise found
        return found

    return look


async def explanation() -> str:
    return "Ready: ImagePullFailed, no such image"


async def test_a_timeout_explains_why() -> None:
    with pytest.raises(DemoFailed) as failure:
        await until("ready agent", always(None), NOW, why=explanation)
    assert str(failure.value) == (
        "no ready agent within 0 s: Ready: ImagePullFailed, no such image"
    )


async def test_a_forge_that_does_not_answer_is_polled_until_the_deadline() -> None:
    with pytest.raises(DemoFailed, match="no answer"):
        await until("record", always(ForgeUnavailable("no answer")), NOW, why=explanation)


async def test_an_exited_service_ends_the_wait_at_once() -> None:
    def check() -> None:
        raise GuildNetError("the reconciler has exited")

    with pytest.raises(GuildNetError, match="the reconciler has exited"):
        await until("AgentTask", always(None), timedelta(hours=1), check=check)


def test_unmet_conditions_explain_an_agent_task() -> None:
    conditions = [
        {"type": "Accepted", "status": "True", "reason": "Valid", "message": "it is"},
        {"type": "Ready", "status": "False", "reason": "OOMKilled", "message": "too big"},
        {"type": "Succeeded", "status": "Unknown", "reason": "Active", "message": ""},
    ]
    explained = explain_agent_task({"status": {"conditions": conditions}})
    assert explained == "Ready: OOMKilled, too big"
    assert "is the operator running?" in explain_agent_task({"spec": {}})
    assert explain_agent_task(None) == "its AgentTask is gone"


def test_the_record_explains_missing_agent_tasks() -> None:
    org = {
        "cluster": {"reachable": False, "message": "no answer"},
        "faults": [{"message": "claimed"}],
        "quarantined": [{"path": "x", "message": "not YAML"}],
    }
    assert explain_org(org) == "no answer; claimed; not YAML"
    assert explain_org({"cluster": {"reachable": True}}) == ""
    assert "no record" in explain_org(None)


def test_the_table_does_not_parse_agent_output_as_markup() -> None:
    out = io.StringIO()
    show([Leg("failure", None, "[sh, -c] [/bold] died")], Console(file=out, width=100))
    assert "[sh, -c] [/bold] died" in out.getvalue()
    assert "All 1 legs passed." in out.getvalue()
