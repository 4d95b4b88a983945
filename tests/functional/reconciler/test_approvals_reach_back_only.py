"""An approval is for deletions that were made by its commit or before it, never for later ones."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.git import Mirror
from guildnet_reconciler.source.approvals import Approvals, is_left_behind
from guildnet_reconciler.source.follow import Repository

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
    return Approvals(mirror, tip, None).released_deletions("acme", ["a"], org_vanished=False)


def approve(remote: Remote, path: str = "orgs/acme/approvals.txt", org: str = "acme") -> str:
    """Commit an approval that changes the file at `path`."""
    file = remote.work / path
    words = file.read_text() if file.exists() else ""
    return remote.commit({path: words + "x"}, f"yes\n\nApprove-Deletions: {org}")


def test_by_the_commit_that_deletes_or_a_later_one(remote: Remote, mirror: Mirror) -> None:
    remote.commit({TASK: "one"})
    assert released(mirror, drop(remote, APPROVED)) == {"a"}
    remote.commit({TASK: "two"})
    assert released(mirror, drop(remote, "gone again")) == set()
    assert released(mirror, approve(remote)) == {"a"}


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


@pytest.mark.parametrize("path", ["orgs/acme.yaml", "orgs/acme/note.txt", "tasks/acme/b.yaml"])
def test_it_counts_where_the_orgs_files_are_touched(
    remote: Remote, mirror: Mirror, path: str
) -> None:
    remote.commit({TASK: "one"})
    drop(remote, "gone")
    assert released(mirror, approve(remote, path)) == {"a"}


@pytest.mark.parametrize(
    "path", ["README.md", "orgs/globex.yaml", "tasks/globex/a.yaml", "orgs/acme2/x"]
)
def test_it_does_not_count_beside_another_orgs_files(
    remote: Remote, mirror: Mirror, path: str
) -> None:
    """Whoever may change globex's files alone releases nothing of acme."""
    remote.commit({TASK: "one"})
    drop(remote, "gone")
    assert released(mirror, approve(remote, path)) == set()
    assert released(mirror, remote.commit({}, APPROVED)) == set()


def test_a_merge_approves_by_what_it_brings_in(remote: Remote, mirror: Mirror) -> None:
    """What a forge writes when a pull request is merged without squashing."""
    remote.commit({TASK: "one", "tasks/acme/b.yaml": "two"})
    remote.git("checkout", "-q", "-b", "side")
    (remote.work / TASK).unlink()
    remote.git("commit", "-qam", "remove")
    remote.git("checkout", "-q", "main")
    remote.commit({"README.md": "elsewhere"})
    remote.git(
        "merge", "-q", "--no-ff", "side", "-m", "Merge #7\n\nApprove-Deletions: acme\n\nBy: B"
    )
    assert released(mirror, remote.commit({})) == {"a"}


def test_a_signature_of_the_orgs_people_counts_beside_any_file(
    remote: Remote, mirror: Mirror, settings: Settings, tmp_path: Path
) -> None:
    key, signers = tmp_path / "key", tmp_path / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers.mkdir()
    public = key.with_suffix(".pub").read_text()
    (signers / "acme").write_text(f"alice@example.com {public}")
    repository = Repository(replace(settings, org_signers=signers), mirror)
    remote.commit({TASK: "one"})
    drop(remote, "gone")
    for signing, expected in (([], set()), (["gpg.format=ssh", f"user.signingKey={key}"], {"a"})):
        options = [part for setting in signing for part in ("-c", setting)]
        sign = ["-S"] if signing else []
        remote.git(*options, "commit", "-q", "--allow-empty", *sign, "-m", APPROVED)
        remote.git("push", "-q", "origin", "HEAD:main")
        mirror.fetch(["main"])
        approvals = repository.approvals(remote.git("rev-parse", "HEAD"), None)
        assert approvals.released_deletions("acme", ["a"], org_vanished=False) == expected
        assert approvals.released_deletions("globex", ["a"], org_vanished=False) == set()


def test_a_later_change_of_a_task_needs_a_later_approval(remote: Remote, mirror: Mirror) -> None:
    """Many tasks are checked with one query of the history."""
    names = [f"t{n}" for n in range(30)]
    remote.commit({f"tasks/acme/{name}.yaml": "x" for name in names})
    for name in names:
        (remote.work / f"tasks/acme/{name}.yaml").unlink()
    remote.commit({}, APPROVED)
    remote.commit({"tasks/acme/t3.yaml": "again"})
    (remote.work / "tasks/acme/t3.yaml").unlink()
    tip = remote.commit({})
    mirror.fetch(["main"])
    found = Approvals(mirror, tip, None).released_deletions("acme", names, org_vanished=False)
    assert found == set(names) - {"t3"}
