"""I5: what every new revision is asked is answered by the git process that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guildnet.errors import GitError
from guildnet.git import Mirror
from guildnet.git import contents as module
from guildnet.git.commands import Commands
from guildnet_reconciler.steps.verify import verify


@pytest.fixture
def mirror(remote: Any, tmp_path: Path) -> Iterator[Mirror]:
    with Mirror.open(str(remote.path), tmp_path / "state" / "mirror") as opened:
        yield opened


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs of every git that is run, and ends, from now on."""
    seen: list[str] = []
    run = Commands.run

    def noted(self: Commands, *args: str, **options: Any) -> bytes:
        seen.append(args[0])
        return run(self, *args, **options)

    monkeypatch.setattr(Commands, "run", noted)
    return seen


def test_one_commit_further_is_seen_at_once(remote: Any, mirror: Mirror, verbs: list[str]) -> None:
    old, new = remote.commit({"a": "1"}), remote.commit({"a": "2"})
    mirror.fetch(["main"])
    verbs.clear()
    outcome = verify(mirror, new, attempted=[old], allowed_signers=None)
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
    assert verify(mirror, tip, attempted=[], allowed_signers=None)[1] == {old}


def test_a_commit_is_read_as_git_keeps_it(
    remote: Any, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9: and never one that is larger than a person or a forge would make."""
    tip = remote.commit({"a": "1"}, message="subject\n\nbody")
    mirror.fetch(["main"])
    text = mirror.commit_text("main")
    assert text.startswith(b"tree ")
    assert text.endswith(b"\n\nsubject\n\nbody\n")
    monkeypatch.setattr(module, "MAX_COMMIT_BYTES", 10)
    with pytest.raises(GitError, match=f"commit {tip} has"):
        mirror.commit_text(tip)
