"""Faults of an org, and the firewall that turns any exception in its work into one (I3).

A defect must not reach the scheduler or another org: it becomes the fault `InternalError` of its
org, with its position in the code. Only a requested end, such as a cancellation, passes. The fault
is kept by the part of the work that failed, and ends when that part works again.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import GuildNetError, KubeError
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.redact import Redactor

log = logging.getLogger(__name__)

INTERNAL_ERROR = "InternalError"
MAX_MESSAGE_CHARS = 500
MAX_FRAMES = 12
MAX_FAULTS = 20
MAX_TRACE_CHARS = 8000


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a task, or (`task` "") the whole org, is not in sync."""

    reason: str
    message: str
    task: str = ""

    @classmethod
    def of(cls, error: GuildNetError, task: str = "", reason: str = "") -> Fault:
        known = error.reason if isinstance(error, KubeError) else ""
        return cls(reason or known or type(error).__name__, str(error), task)

    def to_json(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message} | (
            {"task": self.task} if self.task else {}
        )


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step of an org's pass ended: its outcome, and the fault that explains it.

    A transient fault goes into the org's record only if the next pass ends with one, too.
    """

    outcome: Outcome
    fault: Fault | None = None
    is_transient: bool = False

    @classmethod
    def stalled(cls, fault: Fault) -> StepResult:
        return cls(Stalled(fault.reason, fault.message), fault)

    @property
    def is_done(self) -> bool:
        return isinstance(self.outcome, Done)


DONE = StepResult(Done())


def waiting_for(error: GuildNetError) -> Waiting:
    """The outcome of a pass that `error` ended."""
    retry = getattr(error, "retry_after", None)
    reason = getattr(error, "reason", "") or type(error).__name__
    return Waiting(reason, str(error), timedelta(seconds=retry) if retry else None)


def pass_on_requested_end(error: BaseException) -> None:
    """Raise `error` again if it is a requested end: a cancelled task, Ctrl-C.

    A task that is being cancelled raises CancelledError whatever `error` is: asyncio would end the
    process for a SystemExit.
    """
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
        raise error
    if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt) is not None:
        raise error
    if _is_cancelled():
        raise error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError


def _is_cancelled() -> bool:
    """Whether the running task is being cancelled: a CancelledError alone may be a library's."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0


def described(error: BaseException, redact: Redactor) -> str:
    """The error in one line: its type, its redacted text, and where in our code it was raised."""
    try:
        text = redact.message(str(error))
    except BaseException as again:  # an exception's own text may fail
        pass_on_requested_end(again)
        text = ""
    message = " ".join(text.split())[:MAX_MESSAGE_CHARS]
    name = type(error).__name__
    return f"{name}: {message} ({_origin(error)})" if message else f"{name} ({_origin(error)})"


def _origin(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "guildnet" in frame.filename] or frames
    if not ours:
        return "unknown origin"
    frame = ours[-1]
    path = Path(frame.filename)
    return f"{path.parent.name}/{path.name}:{frame.lineno} in {frame.name}"


class Firewall:
    """The defects of one org, by the part of its work that failed.

    `on_change` is called when one is noted or settled; what it raises is logged.
    """

    def __init__(self, org: str, on_change: Callable[[], None]) -> None:
        self._extra = {"org": org}
        self._on_change = on_change
        self._defects: dict[str, Fault] = {}
        self.redact = Redactor(())
        """Knows the org's secrets once its cluster is open."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The open defects as faults of the org."""
        return tuple(self._defects[part] for part in sorted(self._defects)[:MAX_FAULTS])

    @contextmanager
    def around(self, part: str, *, passes: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Run a part of the org's work. An exception is noted, unless its type is in `passes`:
        then it is raised. Success settles what was noted before."""
        try:
            yield
        except passes:
            raise
        except BaseException as error:
            pass_on_requested_end(error)
            self.note(part, error)
        else:
            self.settle(part)

    def settle(self, part: str) -> None:
        """The part works."""
        if self._defects.pop(part, None) is not None:
            self._changed()

    def settle_all_but(self, parts: Collection[str]) -> None:
        """A pass has succeeded: all parts work again, except these."""
        for part in [part for part in self._defects if part not in parts]:
            self.settle(part)

    def note(self, part: str, error: BaseException) -> None:
        """The part failed with `error`."""
        line = described(error, self.redact)
        fault = Fault(INTERNAL_ERROR, f"{part}: {line}")
        is_new = self._defects.get(part) != fault
        self._defects[part] = fault
        if is_new:
            log.error("%s failed: %s\n%s", part, line, self._trace(error), extra=self._extra)
        self._changed()

    def _changed(self) -> None:
        try:
            self._on_change()
        except BaseException as error:
            pass_on_requested_end(error)
            log.error(
                "the org's record could not be put after a defect: %s",
                type(error).__name__,
                extra=self._extra,
            )

    def _trace(self, error: BaseException) -> str:
        """The last calls of the traceback; its texts may hold secrets, so it is redacted (I8)."""
        try:
            lines = traceback.format_exception(error, limit=-MAX_FRAMES)
            return self.redact.message("".join(lines))[-MAX_TRACE_CHARS:]
        except BaseException as again:
            pass_on_requested_end(again)
            return "its traceback cannot be formatted"
