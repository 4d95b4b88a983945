"""Shows long work to the person waiting for it: plain lines, or a live display on a terminal.

Only the showing belongs here; what takes long and about how long is known where it is done.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichDisplay
    from rich.progress import Task

#: Plain output says this often that a long step is still going, so that CI logs show life.
PLAIN_REMINDER = timedelta(seconds=30)


class Progress(Protocol):
    """A place to report work to. Calls may come from several threads."""

    def line(self, text: str) -> None:
        """Say one thing that has happened or is worth knowing."""

    def step(
        self, title: str, expected: timedelta | None = None
    ) -> AbstractContextManager[StepProgress]:
        """Show `title` as under way until the context ends; `expected` is a rough duration."""


class StepProgress(Protocol):
    """A step under way. Calls may come from several threads."""

    def count(self, done: int, total: int, unit: str) -> None:
        """Show that `done` of `total` is done, `unit` in the plural."""


def progress_to(stream: TextIO | None = None) -> Progress:
    """The fitting progress for `stream` (standard error when None)."""
    out = stream if stream is not None else sys.stderr
    return TerminalProgress(out) if out.isatty() else PlainProgress(out)


def format_duration(duration: timedelta) -> str:
    """A duration as people say it: `8 s`, `2 min`, `1 min 30 s`."""
    seconds = round(duration.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min" if rest == 0 else f"{minutes} min {rest} s"


@dataclass(slots=True)
class StepState:
    """How far a step has come, as far as that is known."""

    expected: timedelta | None
    counted: tuple[int, int, str] | None = None

    def count(self, done: int, total: int, unit: str) -> None:
        self.counted = (done, total, unit)

    def words(self, elapsed: timedelta) -> str:
        """What was counted, else the time against what it usually takes; "" for neither."""
        if self.counted is not None and self.counted[1] > 0:
            done, total, unit = self.counted
            return f"{done:,} of {total:,} {unit} ({100 * done // total} %)"
        if self.expected is None:
            return ""
        if elapsed <= self.expected:
            return f"of about {format_duration(self.expected)}"
        return f"longer than the usual {format_duration(self.expected)}"


class PlainProgress:
    """One line at a step's start and end, and a reminder in between. No control codes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        with self._lock:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str, expected: timedelta | None = None) -> Iterator[StepProgress]:
        about = f" (about {format_duration(expected)})" if expected else ""
        self.line(f"{title}{about} ...")
        began = time.monotonic()
        ended = threading.Event()
        state = StepState(expected)
        reminder = threading.Thread(
            target=self._remind, args=(title, state, began, ended), daemon=True
        )
        reminder.start()
        try:
            yield state
        finally:
            ended.set()
        self.line(
            f"{title}: done in {format_duration(timedelta(seconds=time.monotonic() - began))}"
        )

    def _remind(self, title: str, state: StepState, began: float, ended: threading.Event) -> None:
        while not ended.wait(PLAIN_REMINDER.total_seconds()):
            elapsed = timedelta(seconds=time.monotonic() - began)
            self.line(reminder(title, elapsed, state))


def reminder(title: str, elapsed: timedelta, state: StepState) -> str:
    """One line about a step that is still under way."""
    words = state.words(elapsed)
    # "8 min of about 10 min" is one phrase; anything else is a second statement.
    separator = " " if words.startswith("of ") else ", "
    return f"{title}: {format_duration(elapsed)}{separator if words else ''}{words}"


class TerminalProgress:
    """A live display: one row for each step under way, with its elapsed and expected time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._display: RichDisplay | None = None
        self._under_way = 0

    def line(self, text: str) -> None:
        with self._lock:
            if self._display is not None:
                self._display.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str, expected: timedelta | None = None) -> Iterator[StepProgress]:
        began = time.monotonic()
        state = StepState(expected)
        with self._lock:
            display = self._opened()
            row = display.add_task(title, total=None, state=state)
        try:
            yield state
        finally:
            with self._lock:
                display.remove_task(row)
                self._close_one()
        self.line(
            f"{title}: done in {format_duration(timedelta(seconds=time.monotonic() - began))}"
        )

    def _opened(self) -> RichDisplay:
        from rich.console import Console
        from rich.progress import Progress as Display
        from rich.progress import ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.text import Text

        class StateColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                state: StepState = task.fields["state"]
                return Text(state.words(timedelta(seconds=task.elapsed or 0)))

        self._under_way += 1
        if self._display is None:
            self._display = Display(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                StateColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._display.start()
        return self._display

    def _close_one(self) -> None:
        self._under_way -= 1
        if self._under_way == 0 and self._display is not None:
            self._display.stop()
            self._display = None
