"""An approval is for deletions that were made by its commit or before it, never for later ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from guildnet.git import Mirror
from guildnet_reconciler.approvals import is_left_behind, released_deletions

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings

APPROVED = "clean up\n\nApprove-Deletions: acme"
TASK = "tasks/acme/a.yaml"


@pytest.fixture
def mirror(settings: Settings) -> Iterator[Mirror]:
    with Mirror.open(settings.repo, settings.mirror_path()) as opened:
        yield opened


def drop(remote: Remote, message: str) -> str:
    (remote.work / TASK).unlink()
    return remote.commit({}, message)


def released(mirror: Mirror, tip: str) -> set[str]:
    mirror.fetch(["main"])
    return released_deletions(
        mirror,
        tip,
        since=None,
        org="acme",
        tasks=["a"],
        org_vanished=False,
        trusted=lambda _commit: True,
    )


def test_by_the_commit_that_deletes_or_a_later_one(remote: Remote, mirror: Mirror) -> None:
    remote.commit({TASK: "one"})
    assert released(mirror, drop(remote, APPROVED)) == {"a"}
    remote.commit({TASK: "two"})
    assert released(mirror, drop(remote, "gone again")) == set()
    assert released(mirror, remote.commit({}, APPROVED)) == {"a"}


def test_a_merge_that_deletes_again_is_not_approved(remote: Remote, mirror: Mirror) -> None:
    """I1: the file came back after the approval, and a merge took the side without it."""
    remote.commit({TASK: "one"})
    approved = drop(remote, APPROVED)
    remote.commit({TASK: "two"})
    remote.git("checkout", "-q", "-b", "side", approved)
    remote.git("commit", "-q", "--allow-empty", "-m", "elsewhere")
    remote.git("checkout", "-q", "main")
    remote.git("merge", "-q", "--no-commit", "-s", "ours", "side")
    assert released(mirror, drop(remote, "merge")) == set()


def test_a_history_is_left_behind_by_its_own_name_or_a_later_one(
    remote: Remote, mirror: Mirror
) -> None:
    older = remote.commit({TASK: "one"})
    newer = remote.commit({TASK: "two"})
    mirror.fetch(["main"])
    remote.git("checkout", "-q", "--orphan", "other")
    remote.git("commit", "-q", "-m", f"begin\n\nAccept-History: {newer}")
    remote.git("push", "-q", "-f", "origin", "HEAD:main")
    tip = remote.commit({TASK: "three"})
    mirror.fetch(["main"])

    def trusted(_commit: str) -> bool:
        return True

    assert is_left_behind(mirror, tip, newer, trusted)
    assert is_left_behind(mirror, tip, older, trusted)
    assert not is_left_behind(mirror, tip, tip, trusted)
    assert not is_left_behind(mirror, tip, older, lambda _commit: False)
