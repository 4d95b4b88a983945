"""What the tailscaled of this machine says of its tailnet, by its LocalAPI.

The LocalAPI is HTTP on a Unix socket. Where there is none, as in the vendor's apps for macOS, the
`tailscale` program is asked instead.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from guildnet.errors import ConfigurationError
from guildnet.http_exchange import AnswerTooLarge, read_bounded
from guildnet.text import clean_text

SOCKETS = (Path("/var/run/tailscale/tailscaled.sock"), Path("/var/run/tailscaled.socket"))
_BASE = "http://local-tailscaled.sock/localapi/v0"
_MAX_BYTES = 64 * 1024 * 1024
_DEADLINE_SECONDS = 10.0
RUNNING = "Running"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A peer that this machine can see; the policy hides the others."""

    name: str
    addresses: tuple[str, ...]
    is_online: bool
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tailnet:
    """This machine's tailscaled. `state` is its backend's, such as Running or NeedsLogin.

    `login` is the user of this machine, or its tags. `control_url` is empty where it is not known.
    `has_interface`: programs reach the mesh directly, without the proxy of a userspace tailscaled.
    """

    state: str
    control_url: str
    login: str
    has_interface: bool
    neighbours: tuple[Neighbour, ...]

    def find(self, addresses: tuple[str, ...]) -> Neighbour | None:
        """The peer with one of these addresses."""
        wanted = set(addresses)
        return next((peer for peer in self.neighbours if wanted & set(peer.addresses)), None)

    def named(self, name: str) -> Neighbour | None:
        """The peer with this name."""
        return next((peer for peer in self.neighbours if peer.name == name), None)


async def read_tailnet(socket: Path | None) -> Tailnet:
    """Ask the tailscaled at `socket`, or that of the system.

    Raises ConfigurationError where none answers.
    """
    found = socket or next(filter(Path.exists, SOCKETS), None)
    if found is not None:
        status, prefs = await _local_api(found)
    else:
        status, prefs = await _program()
    try:
        return parsed(status, prefs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            "the answer of tailscaled is not understood", place=str(found or "tailscale")
        ) from error


def parsed(status: Mapping[str, Any], prefs: Mapping[str, Any]) -> Tailnet:
    """The answers of /localapi/v0/status and /prefs. Pure."""
    own: Mapping[str, Any] = status.get("Self") or {}
    users: Mapping[str, Any] = status.get("User") or {}
    user: Mapping[str, Any] = users.get(str(own.get("UserID"))) or {}
    tags = [str(tag) for tag in own.get("Tags") or ()]
    return Tailnet(
        state=_text(status.get("BackendState")),
        control_url=_text(prefs.get("ControlURL")).rstrip("/"),
        login=", ".join(map(_text, tags)) or _text(user.get("LoginName")),
        has_interface=bool(status.get("TUN")),
        neighbours=tuple(map(_neighbour, (status.get("Peer") or {}).values())),
    )


def _neighbour(peer: Mapping[str, Any]) -> Neighbour:
    return Neighbour(
        name=_text(peer.get("DNSName")).partition(".")[0] or _text(peer.get("HostName")),
        addresses=tuple(map(_text, peer.get("TailscaleIPs") or ())),
        is_online=bool(peer.get("Online")),
        tags=tuple(map(_text, peer.get("Tags") or ())),
    )


def _text(value: Any) -> str:
    return clean_text(str(value or ""), 300)


async def _local_api(socket: Path) -> tuple[Any, Any]:
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    try:
        async with (
            asyncio.timeout(_DEADLINE_SECONDS),
            httpx.AsyncClient(transport=transport, timeout=_DEADLINE_SECONDS) as client,
        ):
            return [await _answer(client, path) for path in ("status", "prefs")]  # type: ignore[return-value]
    except (httpx.HTTPError, OSError, ValueError, AnswerTooLarge) as error:
        raise ConfigurationError(
            f"no tailscaled answers: {clean_text(str(error), 200) or type(error).__name__}",
            place=str(socket),
            cure="Start tailscaled, and check that you may use its socket.",
        ) from error


async def _answer(client: httpx.AsyncClient, path: str) -> Any:
    async with client.stream("GET", f"{_BASE}/{path}") as response:
        response.raise_for_status()
        return json.loads(await read_bounded(response, _MAX_BYTES))


async def _program() -> tuple[Any, Any]:
    program = shutil.which("tailscale")
    if program is None:
        raise ConfigurationError(
            "this machine has no Tailscale client",
            place=str(SOCKETS[0]),
            cure="Install Tailscale and join the mesh with `tailscale up --login-server URL`, or "
            "name the socket of a running tailscaled with --mesh-socket.",
        )
    answers = []
    for arguments in (("status", "--json"), ("debug", "prefs")):
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MAX_BYTES,
        )
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                out, err = await process.communicate()
            answers.append(json.loads(out))
        except (TimeoutError, ValueError) as error:
            why = clean_text(err.decode("utf-8", "replace"), 200) if process.returncode else ""
            raise ConfigurationError(
                f"`tailscale {' '.join(arguments)}` failed: {why or 'no answer'}",
                place=program,
                cure="Start tailscaled.",
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return answers[0], answers[1]
