"""Passes a request for a pass on to the other replicas.

A Service delivers a webhook to one replica, and it may be another that holds the org's Lease. The
relayed request is signed like every webhook, so a replica trusts it no more than a forge's.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import socket
from collections.abc import Callable, Mapping

import aiohttp

from guildnet.errors import ConfigurationError
from guildnet.serving import parse_listen

log = logging.getLogger(__name__)

RELAYED = "x-guildnet-relayed"
"""The header of a relayed request, which is not relayed again."""
TIMEOUT_SECONDS = 5.0
MAX_PEERS = 64


class Peers:
    """The replicas at `address`, a host:port whose name resolves to all of them."""

    def __init__(
        self, address: str, *, listen: str, secret: Callable[[], bytes], token: Callable[[], str]
    ) -> None:
        """`listen`: where this replica listens. `secret` signs relayed webhooks; `token` is sent
        with relayed requests of `sync`; both are called for each. Raises ConfigurationError for
        an address that is not host:port."""
        self._host, self._port = parse_listen(address, "--peers")
        self._may_be_own = parse_listen(listen)[1] == self._port
        self._secret = secret
        self._token = token
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def is_relaying(self) -> bool:
        """Whether a request is under way to a replica."""
        return bool(self._pending)

    async def close(self) -> None:
        """End the requests that are under way."""
        pending = list(self._pending)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def relay_webhook(self) -> None:
        """Have every other replica fetch."""
        signature = hmac.new(self._secret(), b"", hashlib.sha256).hexdigest()
        self._spawn("/webhook/generic", {"X-GuildNet-Signature-256": f"sha256={signature}"})

    def relay_sync(self, org: str | None) -> None:
        """Have every other replica make a full pass over `org`, or over all."""
        path = "/sync" if org is None else f"/sync/{org}"
        self._spawn(path, {"Authorization": f"Bearer {self._token()}"})

    def _spawn(self, path: str, headers: Mapping[str, str]) -> None:
        task = asyncio.create_task(self._relay(path, {**headers, RELAYED: "1"}))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _relay(self, path: str, headers: Mapping[str, str]) -> None:
        try:
            addresses = await self._others()
        except OSError as error:
            log.warning("the peers at %s cannot be resolved: %s", self._host, error)
            return
        limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=limit, trust_env=False) as session:
            await asyncio.gather(
                *(self._post(session, address, path, headers) for address in addresses)
            )

    async def _others(self) -> list[str]:
        """The addresses of the other replicas."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = sorted({str(entry[4][0]) for entry in found})
        others = [a for a in addresses if not (self._may_be_own and _is_own(a))]
        return others[:MAX_PEERS]

    async def _post(
        self,
        session: aiohttp.ClientSession,
        address: str,
        path: str,
        headers: Mapping[str, str],
    ) -> None:
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{self._port}{path}"
        try:
            async with session.post(url, headers=headers, allow_redirects=False) as response:
                # 404: another shard has the org.
                if response.status >= 300 and response.status != 404:
                    log.warning("the replica at %s answered %s to %s", host, response.status, path)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # It polls, so it only notices the push later.
            log.warning("the replica at %s did not answer: %s", host, type(error).__name__)


def _is_own(address: str) -> bool:
    """Whether this machine has the address: a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def peers_of(
    address: str | None, *, listen: str, secret: Callable[[], bytes], token: Callable[[], str]
) -> Peers | None:
    """The replicas at an address; None without one. Raises ConfigurationError where relayed
    webhooks could not be signed."""
    if address is None:
        return None
    if not secret():
        raise ConfigurationError(
            "relayed webhooks are signed with the webhook secret, and none is given",
            place=f"--peers {address}",
            cure="give --webhook-secret-file, or leave --peers out",
        )
    return Peers(address, listen=listen, secret=secret, token=token)
