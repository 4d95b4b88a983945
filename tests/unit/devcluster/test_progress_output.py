"""Progress away from a terminal: plain lines that say what, about how long, and that it ended."""

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
    ("seconds", "words"),
    [(0.2, "0 s"), (8, "8 s"), (59.4, "59 s"), (60, "1 min"), (90, "1 min 30 s")],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    """I10: what the user reads is meant to be read."""
    assert format_duration(timedelta(seconds=seconds)) == words


def test_a_step_says_what_about_how_long_and_when_it_is_done() -> None:
    """Nobody is left alone with a silent eight-minute compile."""
    out = io.StringIO()
    progress = progress_to(out)
    assert isinstance(progress, PlainProgress)
    with progress.step("compiling kubernetes", timedelta(minutes=8)):
        progress.line("a word in between")
    assert out.getvalue().splitlines() == [
        "compiling kubernetes (about 8 min) ...",
        "a word in between",
        "compiling kubernetes: done in 0 s",
    ]


def test_a_failed_step_is_not_called_done() -> None:
    """I10: a failure is never reported as success."""
    out = io.StringIO()
    with pytest.raises(ValueError, match="no"), PlainProgress(out).step("building"):
        raise ValueError("no")
    assert "done" not in out.getvalue()


@pytest.mark.parametrize(
    ("minutes", "expected", "counted", "words"),
    [
        (3, 8, None, "compiling: 3 min of about 8 min"),
        (26, 8, None, "compiling: 26 min, longer than the usual 8 min"),
        (26, 8, (812, 1904, "packages"), "compiling: 26 min, 812 of 1,904 packages (42 %)"),
        (1, 8, (0, 0, "packages"), "compiling: 1 min of about 8 min"),
        (2, None, None, "compiling: 2 min"),
    ],
)
def test_a_reminder_never_promises_time_that_is_over(
    minutes: int, expected: int | None, counted: tuple[int, int, str] | None, words: str
) -> None:
    """I10: what is counted is shown; a duration is only guessed while it may still hold."""
    standing = StepState(None if expected is None else timedelta(minutes=expected))
    if counted is not None:
        standing.count(*counted)
    assert reminder("compiling", timedelta(minutes=minutes), standing) == words


def test_a_terminal_shows_what_is_counted() -> None:
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
