"""Sets up a repository on GitHub or GitHub Enterprise, through their REST API.

Written and tested against the documentation at docs.github.com (version 2022-11-28): "Repository
rules", "Repository webhooks", "Deploy keys" and "Meta data". Branches are protected by rulesets,
because only those can name deploy keys; the classic branch protection is left as it is.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from guildnet.errors import ForgeRefused
from guildnet.forges.administration import (
    DeployKey,
    HostedRepository,
    NotOffered,
    Protection,
    Webhook,
    found_or_none,
    is_key,
    listed,
)
from guildnet.forges.answers import integer, text, value
from guildnet.forges.github import github_api

_DEPLOY_KEYS = [{"actor_id": None, "actor_type": "DeployKey", "bypass_mode": "always"}]


class GitHubAdministration:
    """See `Administration`."""

    provider = "github"
    scopes = (
        "the permissions Administration, Contents, Webhooks and Workflows (read and write) of a "
        "fine-grained token, or the scopes repo, admin:repo_hook and workflow of a classic one; "
        "its account must be an administrator of the repository"
    )

    def __init__(
        self, api_url: str, repository: str, token: str, authorities: str | None = None
    ) -> None:
        self.repository = repository
        self._path = "/repos/" + quote(repository)
        self._transport = github_api(api_url, token, authorities)

    async def find_repository(self) -> HostedRepository | None:
        """See `Administration`."""
        answer = await found_or_none(self._transport, self._path)
        return None if answer is None else _hosted(answer)

    async def create_repository(self) -> HostedRepository:
        """See `Administration`."""
        owner, _, name = self.repository.partition("/")
        user = text(await self._transport.get("/user"), "login")
        is_own = user.lower() == owner.lower()
        path = "/user/repos" if is_own else f"/orgs/{quote(owner)}/repos"
        body = {"name": name, "private": True, "auto_init": False}
        return _hosted(await self._transport.post(path, body))

    async def find_webhook(self, url: str, branch: str) -> Webhook | None:
        """See `Administration`. GitHub cannot limit a webhook to a branch."""
        del branch
        for answer in await listed(self._transport, f"{self._path}/hooks", "per_page"):
            if value(answer, "config", "url") == url:
                gaps = [
                    name
                    for name, is_as_wanted in (
                        ("active", value(answer, "active") is True),
                        ("events", value(answer, "events") == ["push"]),
                        ("content_type", value(answer, "config", "content_type") == "json"),
                        ("insecure_ssl", value(answer, "config", "insecure_ssl") in ("0", 0, None)),
                    )
                    if not is_as_wanted
                ]
                return Webhook(integer(answer, "id"), tuple(gaps))
        return None

    async def set_webhook(self, known: Webhook | None, url: str, branch: str, secret: str) -> None:
        """See `Administration`."""
        del branch
        config = {"url": url, "content_type": "json", "insecure_ssl": "0", "secret": secret}
        body: dict[str, Any] = {"active": True, "events": ["push"], "config": config}
        path = f"{self._path}/hooks"
        if known is None:
            await self._transport.post(path, {"name": "web", **body})
        else:
            await self._transport.request("PATCH", f"{path}/{known.id}", body=body)

    async def find_deploy_key(self, public_key: str) -> DeployKey | None:
        """See `Administration`."""
        for answer in await listed(self._transport, f"{self._path}/keys", "per_page"):
            if is_key(value(answer, "key"), public_key):
                return DeployKey(integer(answer, "id"), value(answer, "read_only") is False)
        return None

    async def set_deploy_key(self, known: DeployKey | None, title: str, public_key: str) -> None:
        """See `Administration`. A key's access cannot be edited, so a known key is replaced."""
        if known is not None:
            await self._transport.request("DELETE", f"{self._path}/keys/{known.id}")
        body = {"title": title, "key": public_key, "read_only": False}
        await self._transport.post(f"{self._path}/keys", body)

    async def protection_gaps(self, wanted: Protection) -> tuple[str, ...] | None:
        """See `Administration`. Only the ruleset that `protect` makes counts, by its name."""
        found = await self._ruleset(wanted)
        return None if found is None else _gaps(found, wanted)

    async def protect(self, wanted: Protection) -> None:
        """See `Administration`. NotOffered for a private repository on a free plan."""
        found = await self._ruleset(wanted)
        body = _ruleset(wanted, _approvals(found))
        path = f"{self._path}/rulesets"
        try:
            if found is None:
                await self._transport.post(path, body)
            elif _gaps(found, wanted):
                await self._transport.put(f"{path}/{integer(found, 'id')}", body)
        except ForgeRefused as refusal:
            raise _as_not_offered(refusal) from refusal

    def limits(self, wanted: Protection) -> tuple[str, ...]:
        """See `Administration`."""
        return ("any deploy key with write access may push",) if wanted.deploy_key else ()

    async def host_keys(self) -> tuple[str, ...]:
        """See `Administration`."""
        keys = value(await self._transport.get("/meta"), "ssh_keys")
        return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()

    async def _ruleset(self, wanted: Protection) -> Any:
        path = f"{self._path}/rulesets"
        try:
            for answer in await listed(self._transport, path, "per_page"):
                if value(answer, "name") == _name(wanted):
                    return await self._transport.get(f"{path}/{integer(answer, 'id')}")
        except ForgeRefused as refusal:
            raise _as_not_offered(refusal) from refusal
        return None


def _as_not_offered(refusal: ForgeRefused) -> ForgeRefused:
    """GitHub refuses rulesets of private repositories on a free plan with 403 and "Upgrade to"."""
    if refusal.status != 403 or "upgrade to" not in refusal.message.lower():
        return refusal
    return NotOffered(
        refusal.message, place=refusal.place, status=refusal.status, cure="use a plan that has it"
    )


def _hosted(answer: Any) -> HostedRepository:
    return HostedRepository(text(answer, "clone_url"), text(answer, "ssh_url"))


def _name(wanted: Protection) -> str:
    return f"guildnet: {wanted.branch}"


def _ruleset(wanted: Protection, approvals: int) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [{"type": "deletion"}, {"type": "non_fast_forward"}]
    if wanted.deploy_key is None:
        parameters = {
            "required_approving_review_count": max(wanted.approvals, approvals),
            "dismiss_stale_reviews_on_push": True,
            "require_code_owner_review": False,
            "require_last_push_approval": False,
            "required_review_thread_resolution": False,
        }
        rules.append({"type": "pull_request", "parameters": parameters})
    else:
        rules += [{"type": "creation"}, {"type": "update"}]
    return {
        "name": _name(wanted),
        "target": "branch",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": [f"refs/heads/{wanted.branch}"], "exclude": []}},
        "bypass_actors": [] if wanted.deploy_key is None else _DEPLOY_KEYS,
        "rules": rules,
    }


def _gaps(found: Any, wanted: Protection) -> tuple[str, ...]:
    goal = _ruleset(wanted, 0)
    present = {value(rule, "type") for rule in _rules(found)}
    gaps = [f"rule {rule['type']}" for rule in goal["rules"] if rule["type"] not in present]
    if wanted.deploy_key is None and _approvals(found) < wanted.approvals:
        gaps.append(f"{wanted.approvals} approvals")
    gaps += [key for key in ("enforcement", "conditions") if value(found, key) != goal[key]]
    actors = value(found, "bypass_actors") or []
    if [value(actor, "actor_type") for actor in actors] != [
        actor["actor_type"] for actor in goal["bypass_actors"]
    ]:
        gaps.append("who may bypass it")
    return tuple(gaps)


def _approvals(found: Any) -> int:
    counts = [
        value(rule, "parameters", "required_approving_review_count") for rule in _rules(found)
    ]
    return max((count for count in counts if isinstance(count, int)), default=0)


def _rules(found: Any) -> list[Any]:
    rules = value(found, "rules")
    return rules if isinstance(rules, list) else []
