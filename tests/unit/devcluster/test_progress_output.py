"""Progress output, as plain lines and on a terminal."""

from __future__ import annotations

import io
import time
from datetime import timedelta

import pytest

from guildnet_devcluster.progress import (
    PlainProgress,
    StepState,
    format_duration,
    progress_to,
    reminder,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (8, "8 s"), (59.4, "59 s"), (60, "1 min"), (90, "1 min 30 s")],
)
def test_format_of_durations(seconds: float, text: str) -> None:
    """I10: durations are easy to read."""
    assert format_duration(timedelta(seconds=seconds)) == text


def test_plain_output_of_a_step() -> None:
    """Output shows what is running and for how long, also during a compile of eight minutes."""
    out = io.StringIO()
    progress = progress_to(out)
    assert isinstance(progress, PlainProgress)
    with progress.step("compiling kubernetes", timedelta(minutes=8)):
        progress.line("a line in between")
    assert out.getvalue().splitlines() == [
        "compiling kubernetes (about 8 min) ...",
        "a line in between",
        "compiling kubernetes: done in 0 s",
    ]


def test_failed_step_is_not_reported_as_done() -> None:
    """I10: a failure is never reported as success."""
    out = io.StringIO()
    with pytest.raises(ValueError, match="no"), PlainProgress(out).step("building"):
        raise ValueError("no")
    assert "done" not in out.getvalue()


@pytest.mark.parametrize(
    ("minutes", "expected", "counted", "text"),
    [
        (3, 8, None, "compiling: 3 min of about 8 min"),
        (26, 8, None, "compiling: 26 min, longer than the usual 8 min"),
        (26, 8, (812, 1904, "packages"), "compiling: 26 min, 812 of 1,904 packages (42 %)"),
        (1, 8, (0, 0, "packages"), "compiling: 1 min of about 8 min"),
        (2, None, None, "compiling: 2 min"),
    ],
)
def test_reminders(
    minutes: int, expected: int | None, counted: tuple[int, int, str] | None, text: str
) -> None:
    """I10: it shows counted progress; the estimate is shown as such only until it has passed."""
    state = StepState(None if expected is None else timedelta(minutes=expected))
    if counted is not None:
        state.count(*counted)
    assert reminder("compiling", timedelta(minutes=minutes), state) == text


def test_terminal_shows_counted_progress() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with progress_to(out).step("compiling kubernetes", timedelta(minutes=8)) as step:
        step.count(3, 4, "packages")
        deadline = time.monotonic() + 20
        while "3 of 4 packages (75 %)" not in out.getvalue():
            assert time.monotonic() < deadline, out.getvalue()
            time.sleep(0.01)
    assert "of about" not in out.getvalue().partition("3 of 4")[2]
