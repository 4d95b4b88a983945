"""Progress away from a terminal: plain lines that say what, about how long, and that it ended."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from guildnet_devcluster.progress import PlainProgress, progress_to, words_of


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (8, "8 s"), (59.4, "59 s"), (60, "1 min"), (90, "1 min 30 s")],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    """I10: what the user reads is meant to be read."""
    assert words_of(timedelta(seconds=seconds)) == words


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
