"""I5: what every new revision is asked is answered by the git process that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guildnet.git import Mirror
from guildnet.git.history import MAX_MESSAGE_CHARS
from guildnet.git.process import IsolatedGit
from guildnet.outcome import Done
from guildnet_reconciler.source.verify import verify


@pytest.fixture
def mirror(remote: Any, tmp_path: Path) -> Iterator[Mirror]:
    with Mirror.open(str(remote.path), tmp_path / "state" / "mirror") as opened:
        yield opened


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs of every git that is run, and ends, from now on."""
    seen: list[str] = []
    run = IsolatedGit.run

    def noted(self: IsolatedGit, *args: str, **options: Any) -> bytes:
        seen.append(args[0])
        return run(self, *args, **options)

    monkeypatch.setattr(IsolatedGit, "run", noted)
    return seen


def test_one_commit_further_is_seen_at_once(remote: Any, mirror: Mirror, verbs: list[str]) -> None:
    old, new = remote.commit({"a": "1"}), remote.commit({"a": "2"})
    mirror.fetch(["main"])
    verbs.clear()
    outcome = verify(mirror, new, attempted=[old], signatures=None)
    assert (str(outcome[0]), outcome[1]) == ("Done()", frozenset())
    assert verbs == []


def test_a_merged_pull_request_is_one_further_too(
    remote: Any, mirror: Mirror, verbs: list[str]
) -> None:
    base = remote.commit({"a": "1"})
    remote.git("checkout", "-q", "-b", "side")
    side = remote.commit({"b": "1"}, branch="side")
    remote.git("checkout", "-q", "main")
    tip = remote.commit({"a": "2"})
    remote.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    remote.git("push", "-q", "origin", "HEAD:refs/heads/main")
    merge = mirror.fetch(["main"])["main"]
    verbs.clear()
    assert mirror.is_ancestor(tip, merge)
    assert verbs == []
    # Further off it takes a process, and is as right.
    assert mirror.is_ancestor(side, merge)
    assert mirror.is_ancestor(base, merge)
    assert not mirror.is_ancestor(merge, tip)
    assert not mirror.is_ancestor(side, tip)
    assert verbs == ["merge-base"] * 4


def test_a_trailer_is_found_in_any_case(remote: Any, mirror: Mirror) -> None:
    old = remote.commit({"a": "1"})
    tip = remote.commit({"a": "2"}, message=f"rewrite\n\naccept-HISTORY: {old}")
    mirror.fetch(["main"])
    assert verify(mirror, tip, attempted=[], signatures=None)[1] == {old}


def test_of_a_long_commit_the_beginning_is_read(
    remote: Any, mirror: Mirror, verbs: list[str]
) -> None:
    """I9, I3: a long message is neither kept in memory nor a reason to stop following a branch."""
    first = remote.commit({"a": "1"}, message="first\n\nKey: one\n" + "words " * 400_000)
    second = remote.commit({"a": "2"}, message="second\n\n" + "x\n" * 1_200_000 + "Key: two")
    huge = remote.commit({"a": "3"}, message="third\n\nKey: three\n" + "x\n" * 2_500_000)
    tip = mirror.fetch(["main"])["main"]
    verbs.clear()
    info = mirror.commit_info(first)
    assert verbs == []
    assert (info.subject, info.trailer_values("key")) == ("first", ("one",))
    assert len(info.message) == MAX_MESSAGE_CHARS
    assert mirror.commit_info(second).trailer_values("key") == ()
    assert verify(mirror, tip, attempted=[second], signatures=None) == (Done(), frozenset())
    messages = {commit.sha: commit.message[:5] for commit in mirror.log("main", limit=9)}
    assert messages == {huge: "", second: "secon", first: "first"}
