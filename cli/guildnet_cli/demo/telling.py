"""How a story is told: chapter by chapter, each waiting for what must happen, and why it did not.

What the chapters are about belongs in `story`.
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
from guildnet_cli.demo.report import Leg
from guildnet_devcluster.progress import Progress

T = TypeVar("T")

Look = Callable[[], Awaitable[T | None]]

_EACH_LOOK = 0.1  # seconds between two looks at the same thing


class DemoFailed(GuildNetError):
    """Something that had to happen did not."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of a story, told only where the chapters it builds on (by title) went well.

    `about` is what it takes, where that is long enough to be shown as under way.
    """

    title: str
    tell: Callable[[], Awaitable[None]]
    builds_on: tuple[str, ...] = ()
    about: timedelta | None = None


async def tell(chapters: Sequence[Chapter], legs: list[Leg], progress: Progress) -> bool:
    """Tell all chapters; each adds to `legs`, one that fails a failed leg. Whether all went well.

    A chapter whose ground is missing is not told: it would wait in vain for minutes.
    """
    failed: set[str] = set()
    for chapter in chapters:
        before = len(legs)
        missed = [title for title in chapter.builds_on if title in failed]
        leg = await _told(chapter, progress) if not missed else _skipped(chapter, missed)
        if leg is not None:
            failed.add(chapter.title)
            legs.append(leg)
        for told in legs[before:]:
            progress.line(told.told)
    return not failed


async def _told(chapter: Chapter, progress: Progress) -> Leg | None:
    """None where it went well, else the leg that says how it failed."""
    try:
        with progress.step(chapter.title, chapter.about) if chapter.about else nullcontext():
            await chapter.tell()
    except GuildNetError as error:
        return Leg(chapter.title, None, str(error), "FAILED")
    return None


def _skipped(chapter: Chapter, missed: Sequence[str]) -> Leg:
    return Leg(chapter.title, None, f"for want of: {', '.join(missed)}", "skipped")


async def until(
    what: str,
    look: Look[T],
    within: timedelta,
    *,
    why: Look[str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> T:
    """What `look` finds once it finds something.

    Raises DemoFailed at the deadline with what `why` tells then, and at once whatever `check`
    raises. A cluster or forge that gives no answer may yet give one.
    """
    deadline = time.monotonic() + within.total_seconds()
    while True:
        is_late = time.monotonic() > deadline
        told: str | None = None
        try:
            found = await look()
            if found is not None:
                return found
            if is_late and why is not None:
                told = await why()
        except (KubeUnavailable, ForgeUnavailable) as error:
            told = str(error)
        check()
        if is_late:
            cause = f": {told}" if told else ""
            raise DemoFailed(f"no {what} within {within.total_seconds():.0f} s{cause}")
        await asyncio.sleep(_EACH_LOOK)


async def all_of(waits: Iterable[Awaitable[None]]) -> None:
    """All of them, side by side; raises the first failure once each has ended."""
    for result in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def agent_task_told(agent_task: Mapping[str, Any] | None) -> str:
    """What an AgentTask says of itself while it does not come to its end. Pure."""
    if agent_task is None:
        return "its AgentTask is gone"
    told = agent_task.get("status", {}).get("conditions") or ()
    if not told:
        return "its AgentTask has no status; does the operator run?"
    lacking = [c for c in told if c["status"] != "True" and c.get("message")]
    return "; ".join(f"{c['type']}: {c['reason']}, {c['message']}" for c in lacking)


def org_told(org: Mapping[str, Any] | None) -> str:
    """What an org's record says that may keep its AgentTasks from coming. Pure."""
    if org is None:
        return "the org has no record on the status branch"
    silent = [org["cluster"]] if org.get("cluster", {}).get("reachable") is False else []
    told = [*silent, *org.get("faults", ()), *org.get("quarantined", ())]
    return "; ".join(str(entry.get("message", "")) for entry in told)
