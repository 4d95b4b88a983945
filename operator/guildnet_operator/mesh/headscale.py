"""Headscale's REST API (`/api/v1`), as of Headscale 0.26.

Peers that join with a tagged key belong to the key's user. The user is the org's own, so that no
other org or cluster has peers of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from guildnet.errors import MeshError, MeshRefused
from guildnet.text import clean_text
from guildnet.units import parse_time, rfc3339
from guildnet_operator.mesh.api import ControlApi, malformed
from guildnet_operator.mesh.control_server import AuthKey, Peer

_SHAPES = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
_PREFIX = "/api/v1"


class Headscale:
    """One org's user on a Headscale server."""

    def __init__(self, url: str, api_key: str, user: str, authorities: str | None) -> None:
        self._api = ControlApi(url, secrets=[api_key], authorities=authorities)
        self._token = api_key
        self._user = user
        self._user_id: str | None = None
        self._finding_user = asyncio.Lock()  # a second user of the name is an error

    async def make_key(self, hostname: str, tags: Sequence[str], lifetime: timedelta) -> AuthKey:
        del hostname  # keys have no description here
        body = {
            "user": await self._ensure_user(),
            "reusable": False,
            "ephemeral": True,
            "expiration": rfc3339(datetime.now(UTC) + lifetime),
            "aclTags": list(tags),
        }
        try:
            answer = await self._send("POST", "/preauthkey", body=body)
            key = answer["preAuthKey"]
            value = str(key["key"])
            return AuthKey(str(key["id"]), value, parse_time(str(key["expiration"])))
        except MeshError:
            self._user_id = None  # it may have been deleted
            raise
        except _SHAPES as error:
            raise malformed(error, "POST /preauthkey") from error

    async def peers(self) -> tuple[Peer, ...]:
        if await self._find_user() is None:
            return ()
        answer = await self._send("GET", "/node", query={"user": self._user})
        try:
            return tuple(_peer(node) for node in answer["nodes"])
        except _SHAPES as error:
            raise malformed(error, "GET /node") from error

    async def remove(self, peer: Peer) -> None:
        if not peer.id.isdigit():
            raise MeshRefused("a peer's id is not a number", place=f"peer {peer.hostname}")
        try:
            await self._send("DELETE", f"/node/{peer.id}")
        except MeshError:
            # Headscale answers 500 for a node that does not exist.
            if any(found.id == peer.id for found in await self.peers()):
                raise

    async def _ensure_user(self) -> str:
        async with self._finding_user:
            if self._user_id is None:
                self._user_id = await self._find_user() or await self._create_user()
            return self._user_id

    async def _find_user(self) -> str | None:
        answer = await self._send("GET", "/user", query={"name": self._user})
        try:
            found = [str(user["id"]) for user in answer["users"] if user["name"] == self._user]
        except _SHAPES as error:
            raise malformed(error, "GET /user") from error
        return found[0] if found else None

    async def _create_user(self) -> str:
        answer = await self._send("POST", "/user", body={"name": self._user})
        try:
            return str(answer["user"]["id"])
        except _SHAPES as error:
            raise malformed(error, "POST /user") from error

    async def _send(self, method: str, path: str, **given: Any) -> Any:
        return await self._api.request(method, _PREFIX + path, token=self._token, **given)


def _peer(node: Any) -> Peer:
    return Peer(
        id=clean_text(str(node["id"]), 64),
        hostname=clean_text(str(node["name"]), 253),
        tags=tuple(map(str, node["forcedTags"])),
        owner=str(node["user"]["name"]),
        created_at=parse_time(str(node["createdAt"])),
    )
