"""A description is cut to what a forge takes, and the run's trailer stays at its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guildnet.forges.port import PullRequestDraft
from guildnet.forges.pull_requests import MAX_TITLE, body_within, title_of

TRAILER = "---\nGuildNet-Run: acme/fix/1\n"


def test_a_short_description_stays_as_it_is() -> None:
    assert body_within(f"words\n\n{TRAILER}", 100) == f"words\n\n{TRAILER}"


def test_a_long_one_keeps_its_trailer_and_says_that_it_was_cut() -> None:
    cut = body_within("word " * 20_000 + f"\n\n{TRAILER}", 32_768)
    assert len(cut) <= 32_768
    assert cut.endswith(f"\n\n{TRAILER}")
    assert "allows at most 32768 characters" in cut


def test_characters_beyond_the_basic_plane_count_twice() -> None:
    """Java and JavaScript count UTF-16 units."""
    cut = body_within("\U0001f600" * 20_000 + f"\n\n{TRAILER}", 32_768)
    assert len(cut.encode("utf-16-le")) // 2 <= 32_768
    assert cut.endswith(TRAILER)


@given(st.text(max_size=300), st.integers(0, 200))
def test_no_description_exceeds_its_limit(body: str, limit: int) -> None:
    assert len(body_within(body, limit).encode("utf-16-le")) // 2 <= limit


def test_a_title_is_cut_between_characters() -> None:
    title = title_of(PullRequestDraft("b", "x" + "\U0001f600" * 300, ""))
    assert len(title.encode("utf-16-le")) // 2 <= MAX_TITLE
    assert title == "x" + "\U0001f600" * 127


def test_half_a_surrogate_pair_of_a_prompt_is_replaced() -> None:
    assert body_within("half \ud800 a pair", 100) == "half ? a pair"
    assert title_of(PullRequestDraft("b", "half \ud800", "")) == "half ?"
