"""How a scenario runs: step by step, each waiting for an event or explaining why it is missing.

The steps themselves are in `scenario`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from guildnet.errors import ForgeUnavailable, GuildNetError, KubeUnavailable
from guildnet_demo.report import Leg
from guildnet_devcluster.progress import Progress

T = TypeVar("T")

Look = Callable[[], Awaitable[T | None]]

_POLL_SECONDS = 0.1


class DemoFailed(GuildNetError):
    """An expected event did not happen."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a scenario, run only if the steps it depends on (by title) succeeded.

    `about` is how long it usually takes; None for a step too short to show progress.
    """

    title: str
    run: Callable[[], Awaitable[None]]
    depends_on: tuple[str, ...] = ()
    about: timedelta | None = None


async def run_steps(steps: Sequence[Step], legs: list[Leg], progress: Progress) -> bool:
    """Run all steps and return whether all succeeded; a failed step appends a failed leg.

    A step that depends on a failed one is skipped: it would wait in vain for minutes.
    """
    failed: set[str] = set()
    for step in steps:
        before = len(legs)
        missing = [title for title in step.depends_on if title in failed]
        leg = await _run(step, progress) if not missing else _skipped(step, missing)
        if leg is not None:
            failed.add(step.title)
            legs.append(leg)
        for added in legs[before:]:
            progress.line(added.line)
    return not failed


async def _run(step: Step, progress: Progress) -> Leg | None:
    """None if it succeeded, else a failed leg."""
    try:
        with progress.step(step.title, step.about) if step.about else nullcontext():
            await step.run()
    except GuildNetError as error:
        return Leg(step.title, None, str(error), "FAILED")
    return None


def _skipped(step: Step, missing: Sequence[str]) -> Leg:
    return Leg(step.title, None, f"depends on: {', '.join(missing)}", "skipped")


async def until(
    what: str,
    look: Look[T],
    within: timedelta,
    *,
    why: Look[str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> T:
    """Poll `look` until it returns something other than None, and return that.

    Raises DemoFailed at the deadline, with the explanation that `why` gives; an exception of
    `check` is raised at once. A cluster or forge that does not answer is polled again.
    """
    deadline = time.monotonic() + within.total_seconds()
    while True:
        is_late = time.monotonic() > deadline
        cause: str | None = None
        try:
            found = await look()
            if found is not None:
                return found
            if is_late and why is not None:
                cause = await why()
        except (KubeUnavailable, ForgeUnavailable) as error:
            cause = str(error)
        check()
        if is_late:
            suffix = f": {cause}" if cause else ""
            raise DemoFailed(f"no {what} within {within.total_seconds():.0f} s{suffix}")
        await asyncio.sleep(_POLL_SECONDS)


async def all_of(waits: Iterable[Awaitable[None]]) -> None:
    """Await all concurrently; raise the first failure once all have ended."""
    for result in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def explain_agent_task(agent_task: Mapping[str, Any] | None) -> str:
    """Why an AgentTask does not finish, by its conditions. Pure."""
    if agent_task is None:
        return "its AgentTask is gone"
    found = agent_task.get("status", {}).get("conditions") or ()
    if not found:
        return "its AgentTask has no status; is the operator running?"
    unmet = [c for c in found if c["status"] != "True" and c.get("message")]
    return "; ".join(f"{c['type']}: {c['reason']}, {c['message']}" for c in unmet)


def explain_org(org: Mapping[str, Any] | None) -> str:
    """Why an org's AgentTasks may be missing, by the org's record. Pure."""
    if org is None:
        return "the org has no record on the status branch"
    unreachable = [org["cluster"]] if org.get("cluster", {}).get("reachable") is False else []
    entries = [*unreachable, *org.get("faults", ()), *org.get("quarantined", ())]
    return "; ".join(str(entry.get("message", "")) for entry in entries)
