"""How long work is shown to whoever waits for it: plain lines, or a live display on a terminal.

Only the showing belongs here; what takes long and about how long is known where it is done.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichDisplay

#: Plain output says this often that a long step is still going, so that CI logs show life.
PLAIN_REMINDER = timedelta(seconds=30)


class Progress(Protocol):
    """A place to report work to. Calls may come from several threads."""

    def line(self, text: str) -> None:
        """Say one thing that has happened or is worth knowing."""

    def step(self, title: str, expected: timedelta | None = None) -> AbstractContextManager[None]:
        """Show `title` as under way until the context ends; `expected` is a rough duration."""


def progress_to(stream: TextIO | None = None) -> Progress:
    """The fitting progress for `stream` (standard error when None)."""
    out = stream if stream is not None else sys.stderr
    return TerminalProgress(out) if out.isatty() else PlainProgress(out)


def words_of(duration: timedelta) -> str:
    """A duration as people say it: `8 s`, `2 min`, `1 min 30 s`."""
    seconds = round(duration.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min" if rest == 0 else f"{minutes} min {rest} s"


class PlainProgress:
    """One line at a step's start and end, and a reminder in between. No control codes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        with self._lock:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str, expected: timedelta | None = None) -> Iterator[None]:
        about = f" (about {words_of(expected)})" if expected else ""
        self.line(f"{title}{about} ...")
        began = time.monotonic()
        ended = threading.Event()
        reminder = threading.Thread(
            target=self._remind, args=(title, expected, began, ended), daemon=True
        )
        reminder.start()
        try:
            yield
        finally:
            ended.set()
        self.line(f"{title}: done in {words_of(timedelta(seconds=time.monotonic() - began))}")

    def _remind(
        self, title: str, expected: timedelta | None, began: float, ended: threading.Event
    ) -> None:
        while not ended.wait(PLAIN_REMINDER.total_seconds()):
            elapsed = words_of(timedelta(seconds=time.monotonic() - began))
            of = f" of about {words_of(expected)}" if expected else ""
            self.line(f"{title}: {elapsed}{of}")


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
    def step(self, title: str, expected: timedelta | None = None) -> Iterator[None]:
        about = f"of about {words_of(expected)}" if expected else ""
        began = time.monotonic()
        with self._lock:
            display = self._opened()
            row = display.add_task(title, total=None, about=about)
        try:
            yield
        finally:
            with self._lock:
                display.remove_task(row)
                self._close_one()
        self.line(f"{title}: done in {words_of(timedelta(seconds=time.monotonic() - began))}")

    def _opened(self) -> RichDisplay:
        from rich.console import Console
        from rich.progress import Progress as Display
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._under_way += 1
        if self._display is None:
            self._display = Display(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                TextColumn("{task.fields[about]}"),
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
