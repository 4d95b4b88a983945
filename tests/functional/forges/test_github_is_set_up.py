"""Setting up a repository on GitHub, with answers in the shapes documented for its REST API.

No GitHub is reached: the shapes are cut down from docs.github.com to the fields that matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from guildnet.forges import (
    DeployKey,
    ForgeRefused,
    HostedRepository,
    NotOffered,
    Protection,
    Webhook,
    detect_administration,
)
from guildnet.forges.github_administration import GitHubAdministration

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

REPO = "/repos/octo-org/state"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample"
URL = "https://guildnet.example/webhook/github"
HOSTED = {
    "full_name": "octo-org/state",
    "clone_url": "https://github.com/octo-org/state.git",
    "ssh_url": "git@github.com:octo-org/state.git",
}
MAIN = Protection("main", approvals=1)
STATUS = Protection("status", deploy_key=KEY)


def hook(**changed: Any) -> dict[str, Any]:
    config = {"url": URL, "content_type": "json", "insecure_ssl": "0", "secret": "********"}
    return {"id": 12, "name": "web", "active": True, "events": ["push"], "config": config} | changed


@pytest.fixture
def github(scripted: Scripted) -> GitHubAdministration:
    return GitHubAdministration(scripted.url, "octo-org/state", "github_pat_0123456789")


@pytest.mark.parametrize(
    ("login", "path"), [("octocat", "/orgs/octo-org/repos"), ("Octo-Org", "/user/repos")]
)
async def test_a_repository_is_created_for_its_owner(
    scripted: Scripted, github: GitHubAdministration, login: str, path: str
) -> None:
    scripted.answer("GET /user", {"login": login})
    scripted.answer(f"POST {path}", HOSTED, 201)

    assert await github.find_repository() is None
    made = await github.create_repository()

    assert made == HostedRepository(HOSTED["clone_url"], HOSTED["ssh_url"])
    assert scripted.sent(f"POST {path}") == [{"name": "state", "private": True, "auto_init": False}]


async def test_a_webhook_is_created_and_changed(
    scripted: Scripted, github: GitHubAdministration
) -> None:
    scripted.answer(f"GET {REPO}/hooks", [])
    scripted.answer(f"GET {REPO}/hooks", [hook(active=False, events=["*"])])
    scripted.answer(f"GET {REPO}/hooks", [])
    scripted.answer(f"POST {REPO}/hooks", hook(), 201)
    scripted.answer(f"PATCH {REPO}/hooks/12", hook())

    assert await github.find_webhook(URL, "main") is None
    await github.set_webhook(None, URL, "main", "s3cret")
    assert await github.find_webhook(URL, "main") == Webhook(12, ("active", "events"))
    await github.set_webhook(Webhook(12), URL, "main", "s3cret")

    config = {"url": URL, "content_type": "json", "insecure_ssl": "0", "secret": "s3cret"}
    changed = {"active": True, "events": ["push"], "config": config}
    assert scripted.sent(f"POST {REPO}/hooks") == [{"name": "web", **changed}]
    assert scripted.sent(f"PATCH {REPO}/hooks/12") == [changed]


async def test_a_deploy_key_without_write_access_is_replaced(
    scripted: Scripted, github: GitHubAdministration
) -> None:
    scripted.answer(f"GET {REPO}/keys", [{"id": 1, "key": f"{KEY} x", "read_only": True}])
    scripted.answer(f"GET {REPO}/keys", [])
    scripted.answer(f"DELETE {REPO}/keys/1", b"", 204)
    scripted.answer(f"POST {REPO}/keys", {"id": 2}, 201)

    found = await github.find_deploy_key(KEY)
    assert found == DeployKey(1, can_write=False)
    await github.set_deploy_key(found, "guildnet", KEY)

    assert [method for method, *_ in scripted.requests] == ["GET", "GET", "DELETE", "POST"]
    sent = {"title": "guildnet", "key": KEY, "read_only": False}
    assert scripted.sent(f"POST {REPO}/keys") == [sent]


async def test_branches_are_protected_by_rulesets(
    scripted: Scripted, github: GitHubAdministration
) -> None:
    """A ruleset as it was sent has no gaps when it comes back."""
    scripted.answer(f"GET {REPO}/rulesets", [])
    scripted.answer(f"POST {REPO}/rulesets", {"id": 42}, 201)
    await github.protect(MAIN)
    await github.protect(STATUS)
    main, status = scripted.sent(f"POST {REPO}/rulesets")

    assert [rule["type"] for rule in main["rules"]] == [
        *("deletion", "non_fast_forward", "pull_request")
    ]
    assert main["rules"][2]["parameters"]["required_approving_review_count"] == 1
    assert main["bypass_actors"] == []
    assert [rule["type"] for rule in status["rules"]] == [
        *("deletion", "non_fast_forward", "creation", "update")
    ]
    assert status["conditions"] == {"ref_name": {"include": ["refs/heads/status"], "exclude": []}}
    assert status["bypass_actors"] == [
        {"actor_id": None, "actor_type": "DeployKey", "bypass_mode": "always"}
    ]
    for wanted, sent in ((MAIN, main), (STATUS, status)):
        scripted.answers.clear()
        scripted.answer(f"GET {REPO}/rulesets", [{"id": 42, "name": sent["name"]}])
        scripted.answer(f"GET {REPO}/rulesets/42", {"id": 42, **sent})
        assert await github.protection_gaps(wanted) == ()


async def test_a_weakened_ruleset_is_completed_and_a_stricter_one_stays(
    scripted: Scripted, github: GitHubAdministration
) -> None:
    rule = {"type": "pull_request", "parameters": {"required_approving_review_count": 2}}
    ruleset = {
        "id": 42,
        "name": "guildnet: main",
        "enforcement": "disabled",
        "conditions": {"ref_name": {"include": ["refs/heads/main"], "exclude": []}},
        "bypass_actors": [{"actor_id": 5, "actor_type": "RepositoryRole"}],
        "rules": [{"type": "deletion"}, rule],
    }
    scripted.answer(f"GET {REPO}/rulesets", [{"id": 42, "name": "guildnet: main"}])
    scripted.answer(f"GET {REPO}/rulesets/42", ruleset)
    scripted.answer(f"PUT {REPO}/rulesets/42", ruleset)

    gaps = await github.protection_gaps(MAIN)
    await github.protect(MAIN)

    assert gaps == ("rule non_fast_forward", "enforcement", "who may bypass it")
    [sent] = scripted.sent(f"PUT {REPO}/rulesets/42")
    assert sent["rules"][2]["parameters"]["required_approving_review_count"] == 2
    assert sent["bypass_actors"] == []


async def test_a_plan_without_rulesets_is_named(
    scripted: Scripted, github: GitHubAdministration
) -> None:
    message = "Upgrade to GitHub Pro or make this repository public to enable this feature."
    scripted.answer(f"GET {REPO}/rulesets", {"message": message}, 403)
    with pytest.raises(NotOffered, match="Upgrade to GitHub Pro"):
        await github.protection_gaps(MAIN)
    scripted.answers.clear()
    scripted.answer(f"GET {REPO}/rulesets", {"message": "Resource not accessible"}, 403)
    with pytest.raises(ForgeRefused, match="not accessible") as refused:
        await github.protect(MAIN)
    assert not isinstance(refused.value, NotOffered)


async def test_host_keys_come_from_the_api(
    scripted: Scripted, github: GitHubAdministration
) -> None:
    scripted.answer("GET /meta", {"ssh_keys": [KEY]})
    assert await github.host_keys() == (KEY,)


async def test_the_kind_of_forge_is_recognised() -> None:
    found = await detect_administration("git@github.com:octo-org/state.git", None, "t")
    assert found is not None
    assert (found.provider, found.repository) == ("github", "octo-org/state")
    assert await detect_administration("https://bitbucket.org/a/b", None, "t") is None
