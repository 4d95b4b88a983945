"""Setting up a project on GitLab, with answers in the shapes documented for its REST API (v4).

No GitLab is reached: the shapes are cut down from docs.gitlab.com to the fields that matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from guildnet.forges import DeployKey, HostedRepository, NotOffered, Protection, Webhook
from guildnet.forges.gitlab_administration import GitLabAdministration

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

API = "/api/v4"
PROJECT = f"{API}/projects/acme%2Fops%2Fstate"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample"
URL = "https://guildnet.example/webhook/gitlab"
MAIN = Protection("main", approvals=1)
STATUS = Protection("status", deploy_key=KEY)
HOSTED = {
    "id": 3,
    "http_url_to_repo": "https://gitlab.example/acme/ops/state.git",
    "ssh_url_to_repo": "git@gitlab.example:acme/ops/state.git",
}


def protected(name: str, push: list[dict[str, Any]], merge: int, **more: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "name": name,
        "push_access_levels": push,
        "merge_access_levels": [{"id": 1, "access_level": merge}],
        "allow_force_push": False,
        **more,
    }


@pytest.fixture
def gitlab(scripted: Scripted) -> GitLabAdministration:
    return GitLabAdministration(scripted.url, "acme/ops/state", "glpat-0123456789")


async def test_a_project_is_created_in_its_group(
    scripted: Scripted, gitlab: GitLabAdministration
) -> None:
    scripted.answer(f"GET {API}/namespaces/acme%2Fops", {"id": 7, "full_path": "acme/ops"})
    scripted.answer(f"POST {API}/projects", HOSTED, 201)

    assert await gitlab.find_repository() is None
    made = await gitlab.create_repository()

    assert made == HostedRepository(str(HOSTED["http_url_to_repo"]), str(HOSTED["ssh_url_to_repo"]))
    [sent] = scripted.sent(f"POST {API}/projects")
    assert sent == {
        "name": "state",
        "path": "state",
        "namespace_id": 7,
        "visibility": "private",
        "default_branch": "main",
    }


async def test_a_webhook_is_limited_to_the_branch(
    scripted: Scripted, gitlab: GitLabAdministration
) -> None:
    hook = {
        "id": 9,
        "url": URL,
        "push_events": True,
        "push_events_branch_filter": "",
        "enable_ssl_verification": True,
    }
    scripted.answer(f"GET {PROJECT}/hooks", [hook])
    scripted.answer(f"GET {PROJECT}/hooks", [])
    scripted.answer(f"PUT {PROJECT}/hooks/9", hook)

    found = await gitlab.find_webhook(URL, "main")
    assert found == Webhook(9, ("push_events_branch_filter",))
    await gitlab.set_webhook(found, URL, "main", "s3cret")

    [sent] = scripted.sent(f"PUT {PROJECT}/hooks/9")
    assert sent["token"] == "s3cret"
    assert sent["push_events_branch_filter"] == "main"


async def test_a_deploy_key_gets_write_access(
    scripted: Scripted, gitlab: GitLabAdministration
) -> None:
    scripted.answer(f"GET {PROJECT}/deploy_keys", [{"id": 4, "key": KEY, "can_push": False}])
    scripted.answer(f"GET {PROJECT}/deploy_keys", [])
    scripted.answer(f"PUT {PROJECT}/deploy_keys/4", {"id": 4})
    scripted.answer(f"POST {PROJECT}/deploy_keys", {"id": 5}, 201)

    assert await gitlab.find_deploy_key(KEY) == DeployKey(4, can_write=False)
    await gitlab.set_deploy_key(DeployKey(4, can_write=False), "guildnet", KEY)
    await gitlab.set_deploy_key(None, "guildnet", KEY)

    assert scripted.sent(f"PUT {PROJECT}/deploy_keys/4") == [{"can_push": True}]
    new = {"title": "guildnet", "key": KEY, "can_push": True}
    assert scripted.sent(f"POST {PROJECT}/deploy_keys") == [new]


async def test_gitlabs_default_protection_of_main_is_tightened(
    scripted: Scripted, gitlab: GitLabAdministration
) -> None:
    """New projects let Maintainers push to the default branch."""
    loose = protected("main", [{"id": 1, "access_level": 40}], 40)
    strict = protected("main", [{"id": 2, "access_level": 0}], 40)
    path = f"{PROJECT}/protected_branches"
    for answer in (loose, loose, loose, strict):
        scripted.answer(f"GET {path}/main", answer)
    scripted.answer(f"DELETE {path}/main", b"", 204)
    scripted.answer(f"POST {path}", strict, 201)

    assert await gitlab.protection_gaps(MAIN) == ("others may push",)
    await gitlab.protect(MAIN)

    assert scripted.sent(f"POST {path}") == [
        {
            "name": "main",
            "push_access_level": 0,
            "merge_access_level": 40,
            "allow_force_push": False,
        }
    ]
    assert gitlab.limits(MAIN) == (
        "required approvals need GitLab Premium: set them in Settings > Merge requests",
    )


async def test_only_the_deploy_key_pushes_status(
    scripted: Scripted, gitlab: GitLabAdministration
) -> None:
    path = f"{PROJECT}/protected_branches"
    key = {"id": 2, "access_level": 40, "deploy_key_id": 4}
    keys = [[{"id": 4, "key": KEY, "can_push": True}], []]
    for answer in keys * 4:
        scripted.answer(f"GET {PROJECT}/deploy_keys", answer)
    for status in (404, 404, 404):
        scripted.answer(f"GET {path}/status", {"message": "404 Not found"}, status)
    made = protected("status", [{"id": 1, "access_level": 0}, key], 0)
    scripted.answer(f"GET {path}/status", made)
    scripted.answer(f"POST {path}", made, 201)

    assert await gitlab.protection_gaps(STATUS) is None
    await gitlab.protect(STATUS)

    [sent] = scripted.sent(f"POST {path}")
    assert sent["allowed_to_push"] == [{"deploy_key_id": 4}]
    assert (sent["push_access_level"], sent["merge_access_level"]) == (0, 0)


async def test_a_gitlab_that_ignores_the_deploy_key_is_named(
    scripted: Scripted, gitlab: GitLabAdministration
) -> None:
    path = f"{PROJECT}/protected_branches"
    for _ in range(4):
        scripted.answer(f"GET {PROJECT}/deploy_keys", [{"id": 4, "key": KEY, "can_push": True}])
        scripted.answer(f"GET {PROJECT}/deploy_keys", [])
    without = protected("status", [{"id": 1, "access_level": 0}], 0)
    for status in (404, 404):
        scripted.answer(f"GET {path}/status", {"message": "404 Not found"}, status)
    scripted.answer(f"GET {path}/status", without)
    scripted.answer(f"POST {path}", without, 201)

    with pytest.raises(NotOffered, match="the deploy key may not push") as refused:
        await gitlab.protect(STATUS)

    assert "until then the reconciler cannot push" in str(refused.value)


async def test_people_who_may_push_status_are_a_gap(
    scripted: Scripted, gitlab: GitLabAdministration
) -> None:
    scripted.answer(f"GET {PROJECT}/deploy_keys", [{"id": 4, "key": KEY, "can_push": True}])
    scripted.answer(f"GET {PROJECT}/deploy_keys", [])
    levels = [
        {"id": 1, "access_level": 40},
        {"id": 2, "access_level": 40, "deploy_key_id": 4},
    ]
    answer = protected("status", levels, 30, allow_force_push=True)
    scripted.answer(f"GET {PROJECT}/protected_branches/status", answer)

    assert await gitlab.protection_gaps(STATUS) == (
        "others may push",
        "merge requests may change it",
        "force pushes are allowed",
    )
