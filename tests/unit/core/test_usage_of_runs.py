"""Usage in records: it only grows, survives lost clusters and later runs, and adds up by day."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet import labels
from guildnet.digest import readable_json
from guildnet.record import (
    Amounts,
    Removed,
    TaskRecord,
    UsageLedger,
    increment,
    record_of,
    reported,
    restored,
    usage_text,
)

DAY = date(2026, 11, 26)


def usage(requests: int, tokens: int, cost: float | None = None) -> dict[str, Any]:
    counted: dict[str, Any] = {"requests": requests, "inputTokens": tokens, "outputTokens": 0}
    counted |= {} if cost is None else {"costUsd": cost}
    return {**counted, "models": {"m": counted}}


def agent_task(uid: str = "u-1", run: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "fix",
            "uid": uid,
            "resourceVersion": "1",
            "annotations": {labels.RUN_DIGEST: f"sha256:{run}"},
        },
        "spec": {"run": run},
        "status": {"run": run, **status},
    }


def recorded(before: TaskRecord | None, obj: dict[str, Any]) -> TaskRecord:
    after = record_of(obj, "acme", before)
    assert after is not None
    return after


def test_the_record_and_later_its_history_hold_what_a_run_used() -> None:
    first = recorded(None, agent_task(start=1, usage=usage(2, 100, 0.5)))
    assert first.usage == usage(2, 100, 0.5)
    second = recorded(first, agent_task(run=2))
    assert second.usage is None
    assert second.history[0]["usage"] == {
        "requests": 2,
        "inputTokens": 100,
        "outputTokens": 0,
        "costUsd": 0.5,
    }


def test_what_a_lost_cluster_had_used_is_added_to_what_the_new_one_reports() -> None:
    before = recorded(None, agent_task("u-1", start=1, usage=usage(2, 100)))
    rebuilt = recorded(before, agent_task("u-2"))
    assert rebuilt.usage == usage(2, 100)
    later = recorded(rebuilt, agent_task("u-2", start=1, usage=usage(1, 30)))
    assert later.usage is not None
    assert (later.usage["requests"], later.usage["inputTokens"]) == (3, 130)
    again = recorded(later, agent_task("u-2", start=1, usage=usage(1, 30)))
    assert again == later


def test_a_status_that_lost_its_usage_takes_none_from_the_record() -> None:
    before = recorded(None, agent_task(start=1, usage=usage(2, 100)))
    assert recorded(before, agent_task(start=1)).usage == usage(2, 100)
    assert recorded(before, agent_task(start=1, usage=usage(1, 10))).usage == usage(2, 100)


def test_what_an_agent_claims_is_marked_and_never_counted() -> None:
    claim = {"input_tokens": 9, "reportedBy": "agent"}
    record = recorded(None, agent_task(start=1, lastRun={"usage": claim}))
    assert record.usage == claim
    assert increment(None, record) == Amounts(runs=1)
    counted = recorded(record, agent_task(start=1, lastRun={"usage": claim}, usage=usage(1, 5)))
    assert counted.usage == usage(1, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        [],
        {"requests": -1},
        {"requests": True},
        {"requests": 2**60},
        {"costUsd": float("nan")},
        {"costUsd": float("inf")},
        {"models": {"x" * 300: {"requests": 1}}},
        {"reportedBy": "agent"},
    ],
)
def test_usage_from_a_cluster_is_dropped_where_it_is_not_a_count(wrong: Any) -> None:
    """I9."""
    checked, _ = reported(agent_task(usage=wrong, history=[{"run": 1, "usage": wrong}]))
    assert checked["status"].get("usage") in (None, {"models": {}})
    assert checked["status"]["history"][0].get("usage") in (None, {"models": {}})


def test_a_ledger_is_read_back_as_it_was_written() -> None:
    ledger = UsageLedger("acme").add(DAY, Amounts(1, 2, 3, 4, 5, Decimal("0.00000001")))
    ledger = ledger.add(DAY, Amounts(cost=Decimal("0.1"))).add(date(2026, 11, 1), Amounts(runs=1))
    assert UsageLedger.from_json("acme", json.loads(readable_json(ledger.to_json()))) == ledger
    assert ledger.on(DAY).cost == Decimal("0.10000001")


@pytest.mark.parametrize(
    "wrong",
    [{}, {"days": []}, {"days": {"monday": {}}}, {"days": {"2026-11-26": {"runs": "1"}}}],
)
def test_a_file_that_is_not_a_ledger_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        UsageLedger.from_json("acme", wrong)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            {**usage(214, 911204, 1.204), "cachedInputTokens": 702110, "outputTokens": 40118},
            "214 requests, 911,204 input tokens (702,110 cached), 40,118 output tokens, 1.2040 USD",
        ),
        (
            {"requests": 1, "unreported": 1},
            "1 request, 0 input tokens, 0 output tokens, 1 answer estimated",
        ),
        ({"input_tokens": 9, "reportedBy": "agent"}, "input_tokens 9 (reported by the agent)"),
        ({"reportedBy": "agent"}, ""),
        ({"requests": "many"}, ""),
        (["x"], ""),
        (None, ""),
    ],
)
def test_usage_is_shown_in_one_line(value: Any, text: str) -> None:
    assert usage_text(value) == text


@dataclass
class World:
    """One task, its AgentTask in a cluster that can be lost, and what the branch holds of it.

    `memory` is what the reconciler has learned and not committed; a restart loses it.
    """

    run: int = 1
    uid: int = 1
    start: int = 0
    live: int = 0
    used: int = 0
    runs: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    memory: TaskRecord | None = None
    branch: TaskRecord | Removed | None = None
    ledger: Amounts = field(default_factory=Amounts)

    def learn(self) -> None:
        status: dict[str, Any] = {"start": self.start, "history": self.history}
        if self.live:
            status["usage"] = usage(self.live, self.live)
        before = restored(self.branch) if isinstance(self.branch, Removed) else self.branch
        previous = self.memory or before
        obj = agent_task(f"u-{self.uid}", self.run, **status)
        self.memory = record_of(obj, "acme", previous) or previous

    def commit(self) -> None:
        if self.memory is not None:
            self.ledger += increment(self.branch, self.memory)
            self.branch, self.memory = self.memory, None

    def work(self) -> None:
        self.runs += self.start == 0
        self.start, self.live, self.used = max(1, self.start), self.live + 1, self.used + 1

    def next_run(self) -> None:
        entry = {"run": self.run, "result": "TaskSucceeded", "starts": self.start}
        totals = {"requests": self.live, "inputTokens": self.live, "outputTokens": 0}
        self.history = [entry | ({"usage": totals} if self.live else {}), *self.history][:10]
        self.run, self.start, self.live = self.run + 1, 0, 0

    def restart(self) -> None:
        self.memory = None

    def lose_cluster(self) -> None:
        """What was never recorded is lost with it; what was recorded is not."""
        self.learn()
        self.commit()
        was_started = self.start > 0
        self.uid, self.live, self.history = self.uid + 1, 0, []
        self.start = 1 if was_started else 0

    def remove(self) -> None:
        """The task leaves git, and comes back with the same words later."""
        self.learn()
        if isinstance(self.memory, TaskRecord):
            removed = Removed.of(self.memory)
            self.ledger += increment(self.branch, removed)
            content = json.loads(readable_json(removed.to_json()))
            self.branch, self.memory = Removed.from_json(content), None
            self.uid, self.live, self.history = self.uid + 1, 0, []


EVENTS = st.sampled_from(
    ["learn", "commit", "work", "next_run", "restart", "lose_cluster", "remove"]
)


@given(st.lists(EVENTS, max_size=40))
def test_no_order_of_events_loses_or_doubles_usage_in_the_ledger(events: list[str]) -> None:
    """I6."""
    world = World()
    for event in events:
        getattr(world, event)()
    world.learn()
    world.commit()
    assert world.ledger.requests == world.ledger.input_tokens == world.used
    assert world.ledger.runs == world.runs
    again = world.ledger
    world.learn()
    world.commit()
    assert world.ledger == again
