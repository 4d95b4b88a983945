"""Pull requests on a real Gitea."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from guildnet.forges import (
    CommitStatus,
    Forge,
    ForgeRefused,
    PullRequest,
    PullRequestDraft,
    detect,
)

if TYPE_CHECKING:
    from tests.functional.forges.conftest import GiteaRepository


async def _forge(repository: GiteaRepository) -> Forge:
    forge = await detect(repository.url, None, repository.token)
    assert forge is not None
    return forge


async def _opened(repository: GiteaRepository, branch: str) -> PullRequest:
    repository.push_branch(branch)
    forge = await _forge(repository)
    return await forge.create_pull_request(PullRequestDraft(branch, "A change", "Why"))


async def test_a_pull_request_is_the_content_of_its_artifact(repository: GiteaRepository) -> None:
    commit = repository.push_branch("guildnet/acme/fix")
    forge = await _forge(repository)

    opened = await forge.create_pull_request(
        PullRequestDraft("guildnet/acme/fix", "Fix it", "Because.\n", base="main")
    )

    artifact = opened.as_artifact()
    created = artifact.pop("createdAt")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(created))
    assert artifact == {
        "url": f"{repository.url.removesuffix('.git')}/pulls/1",
        "provider": "gitea",
        "repository": repository.name,
        "number": 1,
        "state": "open",
        "branch": "guildnet/acme/fix",
        "base": "main",
        "commit": commit,
        "title": "Fix it",
    }
    assert await forge.get_pull_request(1) == opened
    assert opened.body == "Because.\n"


async def test_opening_twice_returns_the_same_pull_request(repository: GiteaRepository) -> None:
    """I7: a run never has two pull requests, even if an answer was lost."""
    first = await _opened(repository, "guildnet/acme/fix")
    second = await (await _forge(repository)).create_pull_request(
        PullRequestDraft("guildnet/acme/fix", "A change", "Why")
    )

    assert first.number == second.number
    assert len(repository.admin.pull_requests(repository.name)) == 1


async def test_a_pull_request_is_found_in_any_state_and_without_its_branch(
    repository: GiteaRepository,
) -> None:
    """I7: a merged or closed pull request of the run is found, and no second one opened."""
    forge = await _forge(repository)
    closed = await _opened(repository, "guildnet/acme/fix")
    repository.admin.close_pull_request(repository.name, closed.number)
    merged = await _opened(repository, "guildnet/acme/fix")
    repository.admin.merge_pull_request(repository.name, merged.number)
    repository.delete_branch("guildnet/acme/fix")
    await _opened(repository, "guildnet/acme/fix-more")

    found = await forge.find_pull_requests("guildnet/acme/fix")

    assert [(one.number, one.state) for one in found] == [
        (merged.number, "merged"),
        (closed.number, "closed"),
    ]
    assert {one.branch for one in found} == {"guildnet/acme/fix"}
    assert await forge.find_pull_requests("guildnet/acme/fi") == []


async def test_a_forks_pull_request_of_the_same_branch_name_is_ignored(
    repository: GiteaRepository,
) -> None:
    """I7: a run never adopts the pull request of another person's fork."""
    repository.push_branch("guildnet/acme/fix")
    repository.open_from_a_fork("guildnet/acme/fix")

    found = await (await _forge(repository)).find_pull_requests("guildnet/acme/fix")

    assert len(repository.admin.pull_requests(repository.name)) == 1
    assert found == []


async def test_labels_and_drafts_are_set_and_unknown_ones_left_out(
    repository: GiteaRepository,
) -> None:
    for name in [*(f"label-{number}" for number in range(51)), "written-by-an-agent"]:
        repository.admin.add_label(repository.name, name)
    repository.push_branch("guildnet/acme/fix")
    forge = await _forge(repository)

    await forge.create_pull_request(
        PullRequestDraft(
            "guildnet/acme/fix",
            "Fix it",
            "",
            draft=True,
            labels=("written-by-an-agent", "no-such-label"),
            reviewers=("no-such-person", "forge-admin"),
        )
    )

    [opened_one] = repository.admin.pull_requests(repository.name)
    assert opened_one["draft"] is True
    assert [label["name"] for label in opened_one["labels"]] == ["written-by-an-agent"]
    assert [person["login"] for person in opened_one["requested_reviewers"]] == ["forge-admin"]


async def test_a_refusal_has_the_forges_message_without_the_token(
    repository: GiteaRepository,
) -> None:
    """I8, I10: the message has cause and place, and never the credential."""
    forge = await _forge(repository)

    with pytest.raises(ForgeRefused) as no_branch:
        await forge.create_pull_request(PullRequestDraft("no-such-branch", "x", ""))
    with pytest.raises(ForgeRefused) as unknown:
        await forge.get_pull_request(99)

    assert no_branch.value.status == 404
    assert "/pulls" in str(no_branch.value)
    assert repository.token not in str(no_branch.value)
    assert unknown.value.status == 404


async def test_a_wrong_token_is_refused_with_its_cure(repository: GiteaRepository) -> None:
    """I10: the error says what to do."""
    forge = await detect(repository.url, None, "0" * 40)
    assert forge is not None

    with pytest.raises(ForgeRefused, match="token") as refused:
        await forge.find_pull_requests("main")

    assert refused.value.status == 401
    assert "0" * 40 not in str(refused.value)


async def test_a_commit_status_is_replaced_by_a_later_one(
    repository: GiteaRepository,
) -> None:
    sha = repository.push_branch("guildnet/acme/fix")
    forge = await _forge(repository)

    pending = CommitStatus(sha, "pending", "guildnet/acme", "3 tasks", "http://pages.example/")
    await forge.set_commit_status(pending)
    await forge.set_commit_status(replace(pending, state="success"))

    newest = repository.admin.commit_statuses(repository.name, sha)[0]
    assert newest["status"] == "success"
    assert newest["context"] == "guildnet/acme"
    assert newest["description"] == "3 tasks"
    assert newest["target_url"] == "http://pages.example/"
