"""Tailscale's own API (https://tailscale.com/api), with an OAuth client.

Written from its documentation; the tests have its documented answers, and no request has been sent
to it. The client needs the scopes `auth_keys` and `devices:core`, and the org's tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from guildnet.errors import MeshRefused
from guildnet.mesh import VENDOR_API
from guildnet.text import clean_text
from guildnet.units import parse_time
from guildnet_operator.mesh.api import ControlApi, malformed
from guildnet_operator.mesh.control_server import AuthKey, Peer

_SHAPES = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
_TAILNET = "/api/v2/tailnet/-"
_MAX_DESCRIPTION = 50


class Tailscale:
    """The tailnet of one OAuth client. A tagged peer belongs to no user there."""

    def __init__(
        self, client_id: str, client_secret: str, authorities: str | None, url: str = VENDOR_API
    ) -> None:
        self._api = ControlApi(url, secrets=[client_secret], authorities=authorities)
        self._client = {"client_id": client_id, "client_secret": client_secret}

    async def make_key(self, hostname: str, tags: Sequence[str], lifetime: timedelta) -> AuthKey:
        create = {"reusable": False, "ephemeral": True, "preauthorized": True, "tags": list(tags)}
        body = {
            "capabilities": {"devices": {"create": create}},
            "expirySeconds": int(lifetime.total_seconds()),
            "description": hostname[:_MAX_DESCRIPTION],
        }
        answer = await self._send("POST", f"{_TAILNET}/keys", body=body)
        try:
            expires_at = parse_time(str(answer["expires"]))
            return AuthKey(str(answer["id"]), str(answer["key"]), expires_at)
        except _SHAPES as error:
            raise malformed(error, "POST /keys") from error

    async def peers(self) -> tuple[Peer, ...]:
        answer = await self._send("GET", f"{_TAILNET}/devices")
        try:
            return tuple(_peer(device) for device in answer["devices"])
        except _SHAPES as error:
            raise malformed(error, "GET /devices") from error

    async def remove(self, peer: Peer) -> None:
        try:
            await self._send("DELETE", f"/api/v2/device/{quote(peer.id, safe='')}")
        except MeshRefused as error:
            if error.status != 404:
                raise

    async def _send(self, method: str, path: str, **given: Any) -> Any:
        """Each request gets a token of its own: they are rare, and a token ends after an hour."""
        form = {**self._client, "grant_type": "client_credentials"}
        answer = await self._api.request("POST", "/api/v2/oauth/token", form=form)
        try:
            token = str(answer["access_token"])
        except _SHAPES as error:
            raise malformed(error, "POST /oauth/token") from error
        return await self._api.request(method, path, token=token, **given)


def _peer(device: Any) -> Peer:
    return Peer(
        id=clean_text(str(device["nodeId"]), 64),
        hostname=clean_text(str(device["hostname"]), 253),
        tags=tuple(map(str, device.get("tags") or ())),
        owner="",
        created_at=parse_time(str(device["created"])),
    )
