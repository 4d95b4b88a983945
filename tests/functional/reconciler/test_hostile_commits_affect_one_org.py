"""I3, I9: whatever a commit puts into one org's folder, the repository is followed, at little cost,
and only that org has something to report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from guildnet.git import Mirror
from guildnet.outcome import Done
from guildnet_reconciler.source import listing
from guildnet_reconciler.source.follow import Repository

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings

TASK = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: %s}\nspec: {prompt: go}\n"
GLOBEX = {"tasks/globex/a.yaml": TASK % "a", "orgs/globex.yaml": "kind: Org\n"}
ACME = {"tasks/acme/a.yaml": TASK % "a", "orgs/acme.yaml": "kind: Org\n"}


@pytest.fixture
def mirror(settings: Settings) -> Iterator[Mirror]:
    with Mirror.open(settings.repo, settings.mirror_path()) as opened:
        yield opened


async def followed(repository: Repository) -> None:
    """The repository after one more pass, which must cost less than a second of CPU."""
    began = time.process_time()
    result = await repository.run(ask_first=False, attempted_elsewhere=set)
    assert result.outcome == Done()
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("from_nothing", [False, True])
async def test_a_tree_that_names_ten_billion_files(
    remote: Remote, settings: Settings, mirror: Mirror, *, from_nothing: bool
) -> None:
    remote.commit(ACME | GLOBEX)
    repository = Repository(settings, mirror)
    if not from_nothing:
        await followed(repository)
    for folder, name in (("tasks/acme", "bomb"), ("orgs", "acme")):
        remote.graft(folder, f"040000 tree {remote.bomb(10)}\t{name}")
    blob = remote.git("hash-object", "-w", "--stdin", words="x")
    remote.graft("tasks/globex", f"100644 blob {blob}\tb.yaml")
    await followed(repository)
    assert repository.take("globex", None).files.keys() == {"a", "b"}
    assert repository.take("acme", None).files.keys() == {"a"}
    assert repository.faults == ()
    assert repository.faults_of("globex") == ()
    places = [fault.message.partition(":")[0] for fault in repository.faults_of("acme")]
    assert places == [*(f"orgs/acme/n{n}.yaml" for n in range(10)), "tasks/acme/bomb"]


@pytest.mark.parametrize("from_nothing", [False, True])
async def test_more_files_than_an_org_may_have(
    remote: Remote,
    settings: Settings,
    mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    *,
    from_nothing: bool,
) -> None:
    """I1: they are neither read nor taken for deleted; and it ends when they are gone."""
    monkeypatch.setattr(listing, "MAX_ORG_ENTRIES", 100)
    remote.commit(ACME | GLOBEX)
    repository = Repository(settings, mirror)
    if not from_nothing:
        await followed(repository)
    good = remote.git("rev-parse", "HEAD")
    blob = remote.git("hash-object", "-w", "--stdin", words="x")
    remote.graft("tasks/acme", "\n".join(f"100644 blob {blob}\tt{n}.yaml" for n in range(120)))
    remote.graft("tasks/globex", f"100644 blob {blob}\tb.yaml")
    await followed(repository)
    assert repository.take("globex", None).files.keys() == {"a", "b"}
    source = repository.take("acme", None)
    assert source.files.keys() == (set() if from_nothing else {"a"})
    assert "more than 100 entries" in str(source.problem)
    assert repository.faults == ()
    remote.git("reset", "-q", "--hard", "HEAD")
    remote.git("rm", "-q", "-r", "--cached", "tasks/acme")
    remote.git("checkout", "-q", good, "--", "tasks/acme")
    remote.git("clean", "-qfd")
    remote.commit({})
    await followed(repository)
    source = repository.take("acme", None)
    assert source.problem is None
    assert source.files.keys() == {"a"}


async def test_a_message_of_two_megabytes(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    remote.commit(ACME | GLOBEX, message="long\n\n" + "words " * 350_000)
    repository = Repository(settings, mirror)
    await followed(repository)
    remote.commit({"tasks/globex/b.yaml": TASK % "b"}, message="long\n\n" + "words " * 350_000)
    await followed(repository)
    assert repository.take("globex", None).files.keys() == {"a", "b"}


async def test_a_misplaced_file_is_its_orgs_alone_and_reported_at_once(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    """I10: a commit that only adds such a file still wakes its org, and its removal too."""
    remote.commit(ACME | GLOBEX)
    repository = Repository(settings, mirror)
    await followed(repository)
    remote.commit({"tasks/acme/READ ME.md": "hello"})
    result = await repository.run(ask_first=False, attempted_elsewhere=set)
    assert result.changes is not None
    assert result.changes.keys() == {"acme"}
    (fault,) = repository.faults_of("acme")
    assert fault.message.startswith("tasks/acme/READ ME.md: expected")
    assert repository.faults == repository.faults_of("globex") == ()
    (remote.work / "tasks/acme/READ ME.md").unlink()
    remote.commit({})
    result = await repository.run(ask_first=False, attempted_elsewhere=set)
    assert (result.changes or {}).keys() == {"acme"}
    assert repository.faults_of("acme") == ()


async def test_what_belongs_to_no_org_is_the_repositorys(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    remote.commit(ACME | {"tasks/notes.txt": "x", "tasks/Bad Name/a.yaml": TASK % "a"})
    repository = Repository(settings, mirror)
    await followed(repository)
    assert repository.faults_of("acme") == ()
    assert [fault.message.partition(":")[0] for fault in repository.faults] == [
        "tasks/Bad Name",
        "tasks/notes.txt",
    ]


async def test_many_misplaced_files_are_counted_and_not_all_listed(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    remote.commit(ACME | {f"tasks/acme/n{n}.txt": "x" for n in range(50)})
    repository = Repository(settings, mirror)
    await followed(repository)
    faults = repository.faults_of("acme")
    assert len(faults) == 21
    assert faults[-1].message.startswith("30 more")
