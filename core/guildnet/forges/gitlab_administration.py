"""Sets up a project on GitLab, through its REST API (``/api/v4``).

Written and tested against the documentation at docs.gitlab.com: "Protected branches API", "Deploy
keys API", "Project webhooks API" and "Projects API".
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

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
from guildnet.forges.answers import integer, items, text, value
from guildnet.forges.gitlab import gitlab_api

_NOBODY, _MAINTAINERS = 0, 40


class GitLabAdministration:
    """See `Administration`."""

    provider = "gitlab"
    scopes = "the scope api, and the role Maintainer or Owner in the project or its group"

    def __init__(
        self, root_url: str, repository: str, token: str, authorities: str | None = None
    ) -> None:
        self.repository = repository
        self._path = "/projects/" + quote(repository, safe="")
        self._transport = gitlab_api(root_url, token, authorities)

    async def find_repository(self) -> HostedRepository | None:
        """See `Administration`."""
        answer = await found_or_none(self._transport, self._path)
        return None if answer is None else _hosted(answer)

    async def create_repository(self) -> HostedRepository:
        """See `Administration`."""
        owner, _, name = self.repository.rpartition("/")
        namespace = await self._transport.get(f"/namespaces/{quote(owner, safe='')}")
        body = {
            "name": name,
            "path": name,
            "namespace_id": integer(namespace, "id"),
            "visibility": "private",
            "default_branch": "main",
        }
        return _hosted(await self._transport.post("/projects", body))

    async def find_webhook(self, url: str, branch: str) -> Webhook | None:
        """See `Administration`."""
        wanted = {
            "push_events": True,
            "push_events_branch_filter": branch,
            "enable_ssl_verification": True,
        }
        for answer in await listed(self._transport, f"{self._path}/hooks", "per_page"):
            if value(answer, "url") == url:
                gaps = (key for key, wish in wanted.items() if value(answer, key) != wish)
                return Webhook(integer(answer, "id"), tuple(gaps))
        return None

    async def set_webhook(self, known: Webhook | None, url: str, branch: str, secret: str) -> None:
        """See `Administration`."""
        body = {
            "url": url,
            "token": secret,
            "push_events": True,
            "push_events_branch_filter": branch,
            "branch_filter_strategy": "wildcard",
            "enable_ssl_verification": True,
        }
        path = f"{self._path}/hooks"
        if known is None:
            await self._transport.post(path, body)
        else:
            await self._transport.put(f"{path}/{known.id}", body)

    async def find_deploy_key(self, public_key: str) -> DeployKey | None:
        """See `Administration`."""
        for answer in await listed(self._transport, f"{self._path}/deploy_keys", "per_page"):
            if is_key(value(answer, "key"), public_key):
                return DeployKey(integer(answer, "id"), value(answer, "can_push") is True)
        return None

    async def set_deploy_key(self, known: DeployKey | None, title: str, public_key: str) -> None:
        """See `Administration`."""
        path = f"{self._path}/deploy_keys"
        if known is not None:
            await self._transport.put(f"{path}/{known.id}", {"can_push": True})
            return
        body = {"title": title, "key": public_key, "can_push": True}
        await self._transport.post(path, body)

    async def protection_gaps(self, wanted: Protection) -> tuple[str, ...] | None:
        """See `Administration`."""
        answer = await found_or_none(self._transport, self._protected(wanted.branch))
        return None if answer is None else _gaps(answer, await self._key_id(wanted))

    async def protect(self, wanted: Protection) -> None:
        """See `Administration`. The protection is deleted and created again: who may push can be
        edited with some plans only. NotOffered if GitLab ignores the deploy key."""
        if await self.protection_gaps(wanted) == ():
            return
        key = await self._key_id(wanted)
        body: dict[str, Any] = {
            "name": wanted.branch,
            "push_access_level": _NOBODY,
            "merge_access_level": _MAINTAINERS if key is None else _NOBODY,
            "allow_force_push": False,
        }
        if key is not None:
            body["allowed_to_push"] = [{"deploy_key_id": key}]
        place = self._protected(wanted.branch)
        if await found_or_none(self._transport, place) is not None:
            await self._transport.request("DELETE", place)
        await self._transport.post(f"{self._path}/protected_branches", body)
        if gaps := await self.protection_gaps(wanted):
            raise NotOffered(
                f"{wanted.branch} is protected, but GitLab did not set: {', '.join(gaps)}",
                place=f"{self.repository}, protected branch {wanted.branch}",
                cure="let the deploy key push to the branch in Settings > Repository > Protected "
                "branches; until then the reconciler cannot push",
            )

    def limits(self, wanted: Protection) -> tuple[str, ...]:
        """See `Administration`."""
        if wanted.deploy_key is not None or not wanted.approvals:
            return ()
        return ("required approvals need GitLab Premium: set them in Settings > Merge requests",)

    async def host_keys(self) -> tuple[str, ...]:
        """See `Administration`: the API does not have them."""
        return ()

    async def _key_id(self, wanted: Protection) -> int | None:
        """The id of the deploy key that may push; -1 if it does not exist yet, None without one."""
        if wanted.deploy_key is None:
            return None
        found = await self.find_deploy_key(wanted.deploy_key)
        return -1 if found is None else found.id

    def _protected(self, branch: str) -> str:
        return f"{self._path}/protected_branches/{quote(branch, safe='')}"


def _hosted(answer: Any) -> HostedRepository:
    return HostedRepository(text(answer, "http_url_to_repo"), text(answer, "ssh_url_to_repo"))


def _gaps(answer: Any, key: int | None) -> tuple[str, ...]:
    gaps: list[str] = []
    levels = items(value(answer, "push_access_levels") or [])
    keys = [value(level, "deploy_key_id") for level in levels]
    if any(
        value(level, "access_level") != _NOBODY and value(level, "deploy_key_id") != key
        if key is not None
        else value(level, "access_level") != _NOBODY
        for level in levels
    ):
        gaps.append("others may push")
    if key is not None and key not in keys:
        gaps.append("the deploy key may not push")
    if key is not None and any(
        value(level, "access_level") != _NOBODY
        for level in items(value(answer, "merge_access_levels") or [])
    ):
        gaps.append("merge requests may change it")
    if value(answer, "allow_force_push") is not False:
        gaps.append("force pushes are allowed")
    return tuple(gaps)
