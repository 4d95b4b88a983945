"""The addresses of Tailscale's relays, which its peers reach each other through.

A Headscale is the relay of its peers itself, or the org lists others as egress. Tailscale publishes
its own as a DERP map; its shape is that of `tailcfg.DERPMap`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx

from guildnet.http_exchange import read_bounded, trust
from guildnet.mesh import MeshSettings, is_vendor
from guildnet.redact import strip_urls
from guildnet.text import clean_text

logger = logging.getLogger(__name__)

_PATH = "/derpmap/default"
_MAX_BYTES = 1024 * 1024
_MAX_ADDRESSES = 512  # a policy must fit into one object of the API server
_DEADLINE_SECONDS = 5.0
_RETRY_SECONDS = 60.0
_WAIT_SECONDS = 1.0
_HTTPS = 443

Destination = tuple[str, int]


class Relays:
    """Looked up again when the last answer is `keep` old; a failed lookup keeps that answer."""

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep.total_seconds()
        self._found: tuple[Destination, ...] = ()
        self._look_again_at = 0.0
        self._lookup: asyncio.Task[None] | None = None

    async def of(self, mesh: MeshSettings | None) -> tuple[Destination, ...]:
        """(address, port) of each relay that the mesh's peers need egress to, sorted."""
        if mesh is None or not is_vendor(mesh.login_server):
            return ()
        loop = asyncio.get_running_loop()
        is_asking = self._lookup is not None and not self._lookup.done()
        if not is_asking and loop.time() >= self._look_again_at:
            self._look_again_at = loop.time() + _RETRY_SECONDS
            self._lookup = loop.create_task(self._ask(mesh.login_server))
        if self._lookup is not None and not self._found:
            # A lookup that hangs must not delay every reconciliation.
            await asyncio.wait([self._lookup], timeout=_WAIT_SECONDS)
        return self._found

    async def _ask(self, server: str) -> None:
        try:
            self._found = await _read(server)
        # Without relays a mesh does not work; everything else does.
        except Exception as error:
            why = clean_text(strip_urls(str(error)) or type(error).__name__, 200)
            logger.warning("cannot read the mesh's relays from %s%s: %s", server, _PATH, why)
        else:
            self._look_again_at = asyncio.get_running_loop().time() + self._keep


async def _read(server: str) -> tuple[Destination, ...]:
    async with (
        asyncio.timeout(_DEADLINE_SECONDS),
        httpx.AsyncClient(verify=trust(None), follow_redirects=False) as client,
        client.stream("GET", server + _PATH) as answer,
    ):
        answer.raise_for_status()
        return relay_addresses(json.loads(await read_bounded(answer, _MAX_BYTES)))


def relay_addresses(derp_map: Any) -> tuple[Destination, ...]:
    """The relays in a DERP map. ValueError, TypeError, KeyError or AttributeError for another
    shape."""
    return tuple(sorted(set(_addresses(derp_map)))[:_MAX_ADDRESSES])


def _addresses(derp_map: Any) -> Iterator[Destination]:
    for region in derp_map["Regions"].values():
        for node in region["Nodes"]:
            if node.get("STUNOnly"):
                continue
            port = int(node.get("DERPPort") or _HTTPS)
            if not 0 < port < 65536:
                raise ValueError("not a port")
            for family in ("IPv4", "IPv6"):
                # Empty or "none": the name is to be looked up, or there is no such address.
                if node.get(family, "none") not in ("", "none"):
                    yield str(ipaddress.ip_address(node[family])), port
