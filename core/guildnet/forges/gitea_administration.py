"""Sets up a repository on Gitea or Forgejo, through their REST API (``/api/v1``)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from guildnet.forges.administration import (
    DeployKey,
    HostedRepository,
    Protection,
    Webhook,
    found_or_none,
    is_key,
    listed,
)
from guildnet.forges.answers import integer, text, value
from guildnet.forges.gitea import gitea_api


class GiteaAdministration:
    """See `Administration`."""

    provider = "gitea"
    scopes = (
        "the scopes write:repository, write:user (or write:organization for an organisation's "
        "repository), and its account must be an administrator of the repository"
    )

    def __init__(
        self, root_url: str, repository: str, token: str, authorities: str | None = None
    ) -> None:
        self.repository = repository
        self._path = "/repos/" + quote(repository)
        self._transport = gitea_api(root_url, token, authorities)

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
        body = {"name": name, "private": True, "auto_init": False, "default_branch": "main"}
        return _hosted(await self._transport.post(path, body))

    async def find_webhook(self, url: str, branch: str) -> Webhook | None:
        """See `Administration`."""
        for answer in await listed(self._transport, f"{self._path}/hooks", "limit"):
            if value(answer, "config", "url") == url:
                wanted = {
                    "active": True,
                    "events": ["push"],
                    "branch_filter": branch,
                    "type": "gitea",
                }
                gaps = [key for key, wish in wanted.items() if value(answer, key) != wish]
                if value(answer, "config", "content_type") != "json":
                    gaps.append("content_type")
                return Webhook(integer(answer, "id"), tuple(gaps))
        return None

    async def set_webhook(self, known: Webhook | None, url: str, branch: str, secret: str) -> None:
        """See `Administration`."""
        body: dict[str, Any] = {
            "active": True,
            "events": ["push"],
            "branch_filter": branch,
            "config": {"url": url, "content_type": "json", "secret": secret},
        }
        # Gitea ignores the secret and the type in an edit, so a known webhook is replaced.
        if known is not None:
            await self._transport.request("DELETE", f"{self._path}/hooks/{known.id}")
        await self._transport.post(f"{self._path}/hooks", {"type": "gitea", **body})

    async def find_deploy_key(self, public_key: str) -> DeployKey | None:
        """See `Administration`."""
        for answer in await listed(self._transport, f"{self._path}/keys", "limit"):
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
        """See `Administration`."""
        answer = await self._protection(wanted.branch)
        return None if answer is None else tuple(_missing(answer, wanted))

    async def protect(self, wanted: Protection) -> None:
        """See `Administration`."""
        path = f"{self._path}/branch_protections"
        answer = await self._protection(wanted.branch)
        if answer is None:
            await self._transport.post(path, {"rule_name": wanted.branch, **_rule(wanted)})
        elif missing := _missing(answer, wanted):
            place = f"{path}/{quote(wanted.branch, safe='')}"
            await self._transport.request("PATCH", place, body=missing)

    def limits(self, wanted: Protection) -> tuple[str, ...]:
        """See `Administration`."""
        return ("any deploy key with write access may push",) if wanted.deploy_key else ()

    async def host_keys(self) -> tuple[str, ...]:
        """See `Administration`: the API does not have them."""
        return ()

    async def _protection(self, branch: str) -> Any:
        path = f"{self._path}/branch_protections/{quote(branch, safe='')}"
        return await found_or_none(self._transport, path)


def _hosted(answer: Any) -> HostedRepository:
    return HostedRepository(text(answer, "clone_url"), text(answer, "ssh_url"))


def _rule(wanted: Protection) -> dict[str, Any]:
    if wanted.deploy_key is None:
        return {
            "enable_push": False,
            "enable_force_push": False,
            "required_approvals": wanted.approvals,
            "dismiss_stale_approvals": True,
        }
    nobody: list[str] = []
    return {
        "enable_push": True,
        "enable_push_whitelist": True,
        "push_whitelist_usernames": nobody,
        "push_whitelist_teams": nobody,
        "push_whitelist_deploy_keys": True,
        "enable_force_push": False,
        "enable_merge_whitelist": True,
        "merge_whitelist_usernames": nobody,
        "merge_whitelist_teams": nobody,
    }


def _missing(answer: Any, wanted: Protection) -> dict[str, Any]:
    """The fields to change, with their wanted values."""
    rule = _rule(wanted)
    approvals = value(answer, "required_approvals")
    if isinstance(approvals, int) and approvals >= wanted.approvals:
        rule.pop("required_approvals", None)
    # Gitea sends null for an empty list, and a version without forced pushes no such field.
    return {
        key: wish for key, wish in rule.items() if (value(answer, key) or None) != (wish or None)
    }
