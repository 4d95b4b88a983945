"""Setting up a Gitea for a story or a test: people, repositories, protection, webhooks.

What GuildNet itself does on a forge is in guildnet.forges; this is what its users do there.
"""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx

from guildnet.errors import ForgeRefused, ForgeUnavailable

#: What an account of GuildNet needs: push, pull requests, labels, commit status.
AGENT_SCOPES = ("write:repository", "write:issue", "read:organization", "read:user")
#: Gitea tries a merge in the background first.
_MERGEABLE_WITHIN = timedelta(seconds=30)


class ForgeAdmin:
    """The API of the Gitea at `url` for the holder of `token`.

    Repositories are named `owner/name`. Every method raises ForgeRefused with Gitea's own words,
    or ForgeUnavailable where there is no answer.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"token {token}"}
        # Read once: doing so takes longer than a request.
        self._trust = ssl.create_default_context()

    def create_user(self, name: str, password: str) -> None:
        """Add a person who can sign in, and act by the API with a token."""
        body = {
            "username": name,
            "password": password,
            "email": f"{name}@forge.example",
            "must_change_password": False,
        }
        self._send("POST", "/admin/users", body)

    def create_organization(self, name: str) -> None:
        """Add an organisation that the token's holder owns."""
        self._send("POST", "/orgs", {"username": name})

    def create_token(
        self, user: str, password: str, name: str, scopes: Sequence[str] = AGENT_SCOPES
    ) -> str:
        """A new access token of `user`; Gitea hands these out for a password only."""
        body = {"name": name, "scopes": list(scopes)}
        told = self._send(
            "POST", f"/users/{quote(user)}/tokens", body, auth=httpx.BasicAuth(user, password)
        )
        return str(told["sha1"])

    def create_repository(self, repository: str, *, private: bool = True) -> None:
        """Add an empty repository for a person or an organisation, default branch `main`."""
        owner, _, name = repository.partition("/")
        body = {"name": name, "private": private, "default_branch": "main"}
        path = f"/orgs/{quote(owner)}/repos"
        if not self._is_organization(owner):
            path = f"/admin/users/{quote(owner)}/repos"
        self._send("POST", path, body)

    def add_collaborator(self, repository: str, user: str, permission: str = "write") -> None:
        """Let `user` into the repository; `permission` is read, write or admin."""
        path = f"{_repo(repository)}/collaborators/{quote(user)}"
        self._send("PUT", path, {"permission": permission})

    def protect_branch(
        self, repository: str, branch: str, *, pushers: Sequence[str] = (), approvals: int = 0
    ) -> None:
        """Nobody but `pushers` may push to `branch`; all others go by pull request."""
        body = {
            "rule_name": branch,
            "enable_push": bool(pushers),
            "enable_push_whitelist": bool(pushers),
            "push_whitelist_usernames": list(pushers),
            "required_approvals": approvals,
        }
        self._send("POST", f"{_repo(repository)}/branch_protections", body)

    def add_webhook(
        self, repository: str, url: str, secret: str, *, events: Sequence[str] = ("push",)
    ) -> int:
        """Have `events` posted to `url`, signed with `secret`; gives the webhook's number."""
        config = {"url": url, "secret": secret, "content_type": "json"}
        body = {"type": "gitea", "active": True, "events": list(events), "config": config}
        return int(self._send("POST", f"{_repo(repository)}/hooks", body)["id"])

    def add_label(self, repository: str, name: str, color: str = "#1d76db") -> None:
        """Add a label that pull requests may carry."""
        self._send("POST", f"{_repo(repository)}/labels", {"name": name, "color": color})

    def pull_requests(self, repository: str, state: str = "all") -> list[dict[str, Any]]:
        """The newest 50 pull requests as Gitea tells them; `state` is open, closed or all."""
        told = self._send("GET", f"{_repo(repository)}/pulls?state={quote(state)}&limit=50")
        return list(told)

    def merge_pull_request(self, repository: str, number: int) -> None:
        """Merge it as a person would by the button, once Gitea knows that it can be merged."""
        deadline = time.monotonic() + _MERGEABLE_WITHIN.total_seconds()
        while True:
            try:
                self._send("POST", f"{_repo(repository)}/pulls/{number}/merge", {"Do": "merge"})
                return
            except ForgeRefused as refusal:
                if "try again later" not in refusal.message or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def close_pull_request(self, repository: str, number: int) -> None:
        """Close it unmerged."""
        self._send("PATCH", f"{_repo(repository)}/pulls/{number}", {"state": "closed"})

    def read_file(self, repository: str, path: str, ref: str = "main") -> bytes | None:
        """The file at `path` as of `ref`, None where there is none."""
        try:
            told = self._send(
                "GET", f"{_repo(repository)}/contents/{quote(path)}?ref={quote(ref, safe='')}"
            )
        except ForgeRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return base64.b64decode(told["content"])

    def commit_statuses(self, repository: str, sha: str) -> list[dict[str, Any]]:
        """The marks on a commit, newest first, as Gitea tells them."""
        told = self._send("GET", f"{_repo(repository)}/commits/{quote(sha)}/statuses")
        return sorted(told, key=lambda status: int(status["id"]), reverse=True)

    def is_empty(self, repository: str) -> bool:
        """Whether nothing was pushed yet, as Gitea knows: a moment after a push it still says so,
        and answers 404 to anything about pull requests."""
        return bool(self._send("GET", _repo(repository))["empty"])

    def clone_url(self, repository: str) -> str:
        """Where to clone from and push to, without a credential."""
        return f"{self.url}/{repository}.git"

    def _is_organization(self, name: str) -> bool:
        try:
            self._send("GET", f"/orgs/{quote(name)}")
        except ForgeRefused as refusal:
            if refusal.status == 404:
                return False
            raise
        return True

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        auth: httpx.BasicAuth | None = None,
    ) -> Any:
        place = f"{method} {self.url}/api/v1{path}"
        headers = {} if auth else self._headers
        try:
            response = httpx.request(
                method,
                f"{self.url}/api/v1{path}",
                json=body,
                auth=auth,
                headers=headers,
                timeout=30,
                verify=self._trust,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise ForgeUnavailable(f"no answer: {error}", place=place) from error
        if not response.is_success:
            raise ForgeRefused(response.text[:500], place=place, status=response.status_code)
        return response.json() if response.content else None


def _repo(repository: str) -> str:
    return f"/repos/{quote(repository)}"
