"""Sets up a Headscale for a devcluster or a test: users, keys, nodes and the policy."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from guildnet.errors import GuildNetError

_TIMEOUT = timedelta(seconds=30)


class HeadscaleAdmin:
    """A client for the API of the Headscale at `url`, authenticated by an API key.

    `ca` is the PEM file to verify its certificate with. Every method raises GuildNetError with
    Headscale's message, or if it does not answer.
    """

    def __init__(self, url: str, api_key: str, ca: Path) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # Loaded once, because loading takes longer than a request.
        self._trust = ssl.create_default_context(cafile=str(ca))

    def is_healthy(self) -> bool:
        """Whether the server answers and its database works; this needs no API key."""
        try:
            return self._request("GET", "/health", within=timedelta(seconds=2)).is_success
        except GuildNetError:
            return False

    def is_authorized(self) -> bool:
        """Whether the server accepts the API key."""
        return self._request("GET", "/api/v1/apikey").status_code == 200

    def ensure_user(self, login: str) -> int:
        """Add the user `login` unless it exists; return its id.

        Policies name users by a login that contains `@`: `alice@` or `alice@example.com`.
        """
        name = login.removesuffix("@")
        existing = self._user(name)
        if existing is not None:
            return existing
        try:
            return int(self._send("POST", "/user", {"name": name})["user"]["id"])
        except GuildNetError:
            # Somebody else may have added it since.
            existing = self._user(name)
            if existing is None:
                raise
            return existing

    def create_auth_key(
        self,
        user: int,
        *,
        tags: Sequence[str] = (),
        ephemeral: bool = True,
        reusable: bool = False,
        lifetime: timedelta = timedelta(minutes=10),
    ) -> str:
        """Create a pre-authentication key, with which a peer joins as `user`, or as `tags`."""
        body = {
            "user": str(user),
            "aclTags": list(tags),
            "ephemeral": ephemeral,
            "reusable": reusable,
            "expiration": _timestamp(datetime.now(UTC) + lifetime),
        }
        return str(self._send("POST", "/preauthkey", body)["preAuthKey"]["key"])

    def auth_keys(self, user: int) -> list[dict[str, Any]]:
        """The pre-authentication keys of a user, as Headscale's API describes them."""
        found: list[dict[str, Any]] = self._send("GET", f"/preauthkey?user={user}")["preAuthKeys"]
        return found

    def create_api_key(self, lifetime: timedelta = timedelta(days=1)) -> str:
        """Create another API key."""
        body = {"expiration": _timestamp(datetime.now(UTC) + lifetime)}
        return str(self._send("POST", "/apikey", body)["apiKey"])

    def expire_api_key(self, key: str) -> None:
        """Make an API key invalid."""
        self._send("POST", "/apikey/expire", {"prefix": key.partition(".")[0]})

    def nodes(self) -> list[dict[str, Any]]:
        """The peers, as Headscale's API describes them: `id`, `givenName`, `online`, ..."""
        found: list[dict[str, Any]] = self._send("GET", "/node")["nodes"]
        return found

    def remove_node(self, node: str) -> None:
        """Remove the peer with this id."""
        self._send("DELETE", f"/node/{node}")

    def policy(self) -> str:
        """The policy in force; an empty text if there is none, which permits everything."""
        response = self._request("GET", "/api/v1/policy")
        return str(response.json()["policy"]) if response.is_success else ""

    def set_policy(self, policy: str) -> None:
        """Put a policy (HuJSON) in force."""
        self._send("PUT", "/policy", {"policy": policy})

    def _user(self, name: str) -> int | None:
        users = self._send("GET", "/user")["users"]
        return next((int(user["id"]) for user in users if user["name"] == name), None)

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        response = self._request(method, f"/api/v1{path}", body)
        if not response.is_success:
            raise GuildNetError(
                f"Headscale answered {response.status_code}: {response.text[:400]}",
                place=f"{method} {self.url}/api/v1{path}",
            )
        return response.json() if response.content else None

    def _request(
        self, method: str, path: str, body: Any = None, *, within: timedelta = _TIMEOUT
    ) -> httpx.Response:
        try:
            return httpx.request(
                method,
                f"{self.url}{path}",
                json=body,
                headers=self._headers,
                timeout=within.total_seconds(),
                verify=self._trust,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise GuildNetError(
                f"Headscale does not answer: {error}", place=f"{method} {self.url}{path}"
            ) from error


def _timestamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
