"""Shows the progress of long operations: as plain lines, or as a live display on a terminal.

Only the display belongs here; callers provide titles and expected durations.
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

#: Interval of the reminders in plain output, so that CI logs show that a step is still running.
PLAIN_REMINDER = timedelta(seconds=30)


class Progress(Protocol):
    """Receives reports of work. Calls may come from several threads."""

    def line(self, text: str) -> None:
        """Print one line."""

    def step(
        self, title: str, expected: timedelta | None = None
    ) -> AbstractContextManager[StepProgress]:
        """Show `title` as running until the context exits; `expected` is a rough duration."""


class StepProgress(Protocol):
    """A running step. Calls may come from several threads."""

    def count(self, done: int, total: int, unit: str) -> None:
        """Show that `done` of `total` is done; `unit` is in the plural."""


def progress_to(stream: TextIO | None = None) -> Progress:
    """The progress display for `stream` (standard error if None)."""
    out = stream if stream is not None else sys.stderr
    return TerminalProgress(out) if out.isatty() else PlainProgress(out)


def format_duration(duration: timedelta) -> str:
    """Format a duration: `8 s`, `2 min`, `1 min 30 s`."""
    seconds = round(duration.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min" if rest == 0 else f"{minutes} min {rest} s"


@dataclass(slots=True)
class StepState:
    """The progress of a step, as far as it is known."""

    expected: timedelta | None
    counted: tuple[int, int, str] | None = None

    def count(self, done: int, total: int, unit: str) -> None:
        self.counted = (done, total, unit)

    def text(self, elapsed: timedelta) -> str:
        """The counted progress, else the expected duration; "" if both are unknown."""
        if self.counted is not None and self.counted[1] > 0:
            done, total, unit = self.counted
            return f"{done:,} of {total:,} {unit} ({100 * done // total} %)"
        if self.expected is None:
            return ""
        if elapsed <= self.expected:
            return f"of about {format_duration(self.expected)}"
        return f"longer than the usual {format_duration(self.expected)}"


class PlainProgress:
    """Prints a line when a step starts and finishes, and reminders in between."""

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
        started = time.monotonic()
        ended = threading.Event()
        state = StepState(expected)
        reminder = threading.Thread(
            target=self._remind, args=(title, state, started, ended), daemon=True
        )
        reminder.start()
        try:
            yield state
        finally:
            ended.set()
        self.line(
            f"{title}: done in {format_duration(timedelta(seconds=time.monotonic() - started))}"
        )

    def _remind(self, title: str, state: StepState, started: float, ended: threading.Event) -> None:
        while not ended.wait(PLAIN_REMINDER.total_seconds()):
            elapsed = timedelta(seconds=time.monotonic() - started)
            self.line(reminder(title, elapsed, state))


def reminder(title: str, elapsed: timedelta, state: StepState) -> str:
    """One line about a step that is still running."""
    text = state.text(elapsed)
    # "8 min of about 10 min" is one phrase; any other text follows a comma.
    separator = " " if text.startswith("of ") else ", "
    return f"{title}: {format_duration(elapsed)}{separator if text else ''}{text}"


class TerminalProgress:
    """A live display with a row for each running step, its elapsed and expected time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._display: RichDisplay | None = None
        self._running = 0

    def line(self, text: str) -> None:
        with self._lock:
            if self._display is not None:
                self._display.console.print(text, markup=False, highlight=False)
            else:
                print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str, expected: timedelta | None = None) -> Iterator[StepProgress]:
        started = time.monotonic()
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
            f"{title}: done in {format_duration(timedelta(seconds=time.monotonic() - started))}"
        )

    def _opened(self) -> RichDisplay:
        from rich.console import Console
        from rich.progress import Progress as Display
        from rich.progress import ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.text import Text

        class StateColumn(ProgressColumn):
            def render(self, task: Task) -> Text:
                state: StepState = task.fields["state"]
                return Text(state.text(timedelta(seconds=task.elapsed or 0)))

        self._running += 1
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
        self._running -= 1
        if self._running == 0 and self._display is not None:
            self._display.stop()
            self._display = None
