"""Sets up a Gitea for the demo or a test: users, repositories, branch protection, webhooks.

GuildNet's own requests to forges are in guildnet.forges; these are the actions of its users.
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

#: Scopes that GuildNet's account needs: push, pull requests, labels, commit status.
AGENT_SCOPES = ("write:repository", "write:issue", "read:organization", "read:user")
#: Gitea checks in the background whether a pull request can be merged.
_MERGEABLE_WITHIN = timedelta(seconds=30)


class ForgeAdmin:
    """A client for the API of the Gitea at `url`, authenticated by `token`.

    Repositories are named `owner/name`. Every method raises ForgeRefused with Gitea's message, or
    ForgeUnavailable if Gitea does not answer.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"token {token}"}
        # Loaded once, because loading takes longer than a request.
        self._trust = ssl.create_default_context()

    def create_user(self, name: str, password: str) -> None:
        """Add a user who can sign in, and use the API with a token."""
        body = {
            "username": name,
            "password": password,
            "email": f"{name}@forge.example",
            "must_change_password": False,
        }
        self._send("POST", "/admin/users", body)

    def create_organization(self, name: str) -> None:
        """Add an organisation owned by the token's user."""
        self._send("POST", "/orgs", {"username": name})

    def add_member(self, organization: str, team: str, user: str) -> None:
        """Make `user` a member of a new team, which may read the organisation's repositories."""
        body = {"name": team, "permission": "read", "units": ["repo.code"]}
        made = self._send("POST", f"/orgs/{quote(organization)}/teams", body)
        self._send("PUT", f"/teams/{int(made['id'])}/members/{quote(user)}")

    def create_oauth_application(self, name: str, redirect_uri: str) -> tuple[str, str]:
        """Register a confidential OpenID Connect client; return its ID and secret."""
        body = {"name": name, "redirect_uris": [redirect_uri], "confidential_client": True}
        made = self._send("POST", "/user/applications/oauth2", body)
        return str(made["client_id"]), str(made["client_secret"])

    def create_token(
        self, user: str, password: str, name: str, scopes: Sequence[str] = AGENT_SCOPES
    ) -> str:
        """Create an access token of `user`; Gitea requires the password for this."""
        body = {"name": name, "scopes": list(scopes)}
        answer = self._send(
            "POST", f"/users/{quote(user)}/tokens", body, auth=httpx.BasicAuth(user, password)
        )
        return str(answer["sha1"])

    def create_repository(self, repository: str, *, private: bool = True) -> None:
        """Add an empty repository of a user or an organisation, with default branch `main`."""
        owner, _, name = repository.partition("/")
        body = {"name": name, "private": private, "default_branch": "main"}
        path = f"/orgs/{quote(owner)}/repos"
        if not self._is_organization(owner):
            path = f"/admin/users/{quote(owner)}/repos"
        self._send("POST", path, body)

    def add_collaborator(self, repository: str, user: str, permission: str = "write") -> None:
        """Give `user` access to the repository; `permission` is read, write or admin."""
        path = f"{_repo(repository)}/collaborators/{quote(user)}"
        self._send("PUT", path, {"permission": permission})

    def protect_branch(
        self, repository: str, branch: str, *, pushers: Sequence[str] = (), approvals: int = 0
    ) -> None:
        """Allow only `pushers` to push to `branch`; everyone else needs a pull request."""
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
        """Add a webhook that posts `events` to `url`, signed with `secret`; return its id."""
        config = {"url": url, "secret": secret, "content_type": "json"}
        body = {"type": "gitea", "active": True, "events": list(events), "config": config}
        return int(self._send("POST", f"{_repo(repository)}/hooks", body)["id"])

    def add_label(self, repository: str, name: str, color: str = "#1d76db") -> None:
        """Add a label for pull requests."""
        self._send("POST", f"{_repo(repository)}/labels", {"name": name, "color": color})

    def pull_requests(self, repository: str, state: str = "all") -> list[dict[str, Any]]:
        """The newest 50 pull requests in Gitea's format; `state` is open, closed or all."""
        return list(self._send("GET", f"{_repo(repository)}/pulls?state={quote(state)}&limit=50"))

    def merge_pull_request(self, repository: str, number: int) -> None:
        """Merge the pull request, once Gitea has determined that it can be merged."""
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
        """Close the pull request without merging it."""
        self._send("PATCH", f"{_repo(repository)}/pulls/{number}", {"state": "closed"})

    def read_file(self, repository: str, path: str, ref: str = "main") -> bytes | None:
        """The content of the file `path` at `ref`; None if it does not exist."""
        try:
            answer = self._send(
                "GET", f"{_repo(repository)}/contents/{quote(path)}?ref={quote(ref, safe='')}"
            )
        except ForgeRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return base64.b64decode(answer["content"])

    def commit_statuses(self, repository: str, sha: str) -> list[dict[str, Any]]:
        """The statuses of a commit in Gitea's format, newest first."""
        found = self._send("GET", f"{_repo(repository)}/commits/{quote(sha)}/statuses")
        return sorted(found, key=lambda status: int(status["id"]), reverse=True)

    def is_empty(self, repository: str) -> bool:
        """Whether Gitea considers the repository empty.

        It still does for a moment after the first push, and until then answers 404 to requests
        about pull requests.
        """
        return bool(self._send("GET", _repo(repository))["empty"])

    def clone_url(self, repository: str) -> str:
        """The URL for clone and push, without a credential."""
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
            raise ForgeUnavailable(f"the forge does not answer: {error}", place=place) from error
        if not response.is_success:
            raise ForgeRefused(response.text[:500], place=place, status=response.status_code)
        return response.json() if response.content else None


def _repo(repository: str) -> str:
    return f"/repos/{quote(repository)}"
