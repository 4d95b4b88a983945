"""What the tailscaled in the pod's mesh container reports about the agent's peer.

It answers read-only questions of other users on its socket, and refuses all others; the command's
container does not mount the socket.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx

from guildnet.agent_api.state import (
    MAX_MESH_ADDRESSES,
    MAX_MESH_MESSAGE_CHARACTERS,
    MeshPeer,
)
from guildnet.redact import strip_urls
from guildnet.text import clean_text
from guildnet_agent.supervisor.state_board import StateBoard

SOCKET = "tailscaled.sock"
#: tailscaled answers only requests for this host.
_URL = "http://local-tailscaled.sock/localapi/v0/status?peers=false"
_WHILE_JOINING_SECONDS = 1.0
_WHILE_RUNNING_SECONDS = 5.0
_MAX_BYTES = 256 * 1024  # without peers an answer has a few KiB


async def watch_mesh(board: StateBoard, folder: Path) -> None:
    """Keep ``mesh`` of the state up to date; never returns. `folder` has tailscaled's socket."""
    while True:
        peer = await read_peer(folder / SOCKET)
        if peer != board.state.mesh:
            board.change(mesh=peer)
        is_well = peer.is_running and not peer.message
        await asyncio.sleep(_WHILE_RUNNING_SECONDS if is_well else _WHILE_JOINING_SECONDS)


async def read_peer(socket: Path) -> MeshPeer:
    """The peer as tailscaled reports it now."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    try:
        async with (
            asyncio.timeout(3),
            httpx.AsyncClient(transport=transport, trust_env=False) as client,
            client.stream("GET", _URL) as answer,
        ):
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise ValueError("the answer is too large")
        if answer.status_code != 200:
            raise ValueError(f"it answers {answer.status_code}")
        return _peer(json.loads(bytes(content)))
    # A mesh that is broken in any way is reported, and stops nothing else.
    except Exception as error:
        why = "the mesh container does not answer"
        detail = clean_text(str(error) or type(error).__name__, 200)
        return MeshPeer("Unreachable", message=f"{why}: {detail}")


def _peer(status: Mapping[str, Any]) -> MeshPeer:
    """Raises ValueError, TypeError, KeyError or AttributeError for any other shape."""
    own = status.get("Self") or {}
    state = clean_text(status["BackendState"], 32)
    warnings = [str(entry) for entry in status.get("Health") or ()]
    if state != "Running":
        return MeshPeer(state, message=_shown("; ".join(warnings)))
    found = (str(ip_address(text)) for text in (own.get("TailscaleIPs") or ())[:MAX_MESH_ADDRESSES])
    return MeshPeer(
        state,
        id=clean_text(str(own.get("ID") or ""), 64),
        name=clean_text(str(own.get("DNSName") or own.get("HostName") or ""), 253).rstrip("."),
        addresses=tuple(found),
        message=_shown(_unreachable(own, warnings)),
    )


def _unreachable(own: Mapping[str, Any], warnings: list[str]) -> str:
    """Why nobody reaches a connected peer. Its other warnings are about what it does not use."""
    if not own.get("Online"):
        return "the control server does not answer"
    return next((text for text in warnings if "relay server" in text), "")


def _shown(text: str) -> str:
    return clean_text(strip_urls(text), MAX_MESH_MESSAGE_CHARACTERS)
