"""What an org's pass takes of the tree is all of a revision, whatever the pass was made for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from guildnet.git import Mirror
from guildnet.outcome import Done, Stalled
from guildnet_reconciler.source.follow import Repository

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings

TASK = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: %s}\nspec: {prompt: go}\n"


@pytest.fixture
def mirror(settings: Settings) -> Iterator[Mirror]:
    with Mirror.open(settings.repo, settings.mirror_path()) as opened:
        yield opened


def tasks(*names: str) -> dict[str, str]:
    return {f"tasks/acme/{name}.yaml": TASK % name for name in names}


async def follow(repository: Repository) -> object:
    result = await repository.run(ask_first=False, attempted_elsewhere=set)
    return result.outcome


async def test_a_pass_for_one_task_sees_all_deletions_at_once(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    """I1: else a mass deletion would pass the guard in small pieces, each within the budget; and
    a revision would be called applied of which not all was looked at."""
    remote.commit(tasks("a", "b", "c"))
    repository = Repository(settings, mirror)
    assert await follow(repository) == Done()
    repository.take("acme", None)
    for name in ("b", "c"):
        (remote.work / f"tasks/acme/{name}.yaml").unlink()
    remote.commit(tasks("d"))
    assert await follow(repository) == Done()
    source = repository.take("acme", frozenset("a"))
    assert source.names == frozenset("abcd")
    assert source.files.keys() == {"a", "d"}
    assert repository.take("acme", frozenset("a")).names == frozenset("a")


async def test_a_changed_org_file_is_a_pass_over_all(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    """Its defaults flow into every task."""
    remote.commit(tasks("a", "b"))
    repository = Repository(settings, mirror)
    await follow(repository)
    remote.commit({"orgs/acme.yaml": "kind: Org\n"})
    await follow(repository)
    source = repository.take("acme", frozenset("a"))
    assert source.names is None
    assert source.files.keys() == {"a", "b"}


async def test_a_full_disk_loses_no_change(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    """I10: a tip that cannot be saved is reported, and followed once it can."""
    remote.commit(tasks("a"))
    repository = Repository(settings, mirror)
    await follow(repository)
    draft = settings.mirror_path().with_suffix(".git.new")
    draft.mkdir()
    remote.commit(tasks("b"))
    outcome = await follow(repository)
    assert getattr(outcome, "reason", "") == "StateDirectory"
    draft.rmdir()
    result = await repository.run(ask_first=True, attempted_elsewhere=set)
    assert result.outcome == Done()
    assert result.changes is not None
    assert result.changes["acme"].tasks == frozenset("b")


async def test_a_start_under_rewritten_history_goes_on_from_what_was_followed(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    """I1: held, but not idle; and the new tip is not looked at."""
    followed = remote.commit(tasks("a"))
    assert await follow(Repository(settings, mirror)) == Done()
    remote.git("commit", "-q", "--amend", "-m", "another history")
    remote.git("push", "-q", "-f", "origin", "HEAD:main")
    remote.commit(tasks("b"))
    repository = Repository(settings, mirror)
    result = await repository.run(ask_first=False, attempted_elsewhere=set)
    assert isinstance(result.outcome, Stalled)
    assert (result.outcome.reason, result.is_new, result.changes) == (
        "HistoryRewritten",
        True,
        None,
    )
    source = repository.take("acme", None)
    assert (source.revision, set(source.files)) == (followed, {"a"})


async def test_only_what_the_followed_history_held_at_a_path_is_a_last_good_version(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    """A cluster's annotations name a revision and a blob; they may name any."""
    first = remote.commit(tasks("a") | {"tasks/globex/b.yaml": "private"})
    blob = remote.git("rev-parse", f"{first}:tasks/acme/a.yaml")
    private = remote.git("rev-parse", f"{first}:tasks/globex/b.yaml")
    remote.commit({"tasks/acme/a.yaml": "bad"})
    remote.git("checkout", "-q", "-b", "side")
    (remote.work / "tasks/acme/a.yaml").write_text("elsewhere")
    remote.git("commit", "-qam", "never followed")
    remote.git("push", "-q", "origin", "HEAD:status")
    aside = remote.git("rev-parse", "HEAD")
    elsewhere = remote.git("rev-parse", "HEAD:tasks/acme/a.yaml")
    repository = Repository(settings, mirror)
    mirror.fetch(["status"])
    assert not repository.held(first, "tasks/acme/a.yaml", blob)
    await follow(repository)
    assert repository.held(first, "tasks/acme/a.yaml", blob)
    assert not repository.held(first, "tasks/acme/a.yaml", private)
    assert not repository.held(first, "tasks/globex/b.yaml", blob)
    assert not repository.held(aside, "tasks/acme/a.yaml", elsewhere)
    assert not repository.held("main", "tasks/acme/a.yaml", blob)
    assert not repository.held("", "tasks/acme/a.yaml", "")
