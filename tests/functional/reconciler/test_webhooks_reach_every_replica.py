"""A Service delivers a webhook to one replica; the others hear of it from that one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster.control_plane import free_ports
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.server import Hooks, make_app, served
from guildnet_reconciler.triggers.peers import Peers, peers_of

SECRET, TOKEN = b"a-secret", "a-token-of-sixteen"


@dataclass
class Replica:
    """A server, and what it was asked for."""

    url: str
    passes: int = 0
    resyncs: list[str | None] = field(default_factory=list)

    def trigger(self) -> None:
        self.passes += 1

    def resync(self, org: str | None) -> list[str]:
        self.resyncs.append(org)
        return ["acme"]


@asynccontextmanager
async def replica(port: int, peers: Peers | None) -> AsyncIterator[Replica]:
    listen = f"127.0.0.1:{port}"
    found = Replica(f"http://{listen}")
    hooks = Hooks(found.trigger, found.resync, lambda: (True, {}), peers)
    app = make_app(hooks, Metrics(), secret=lambda: SECRET, branch="main", token=lambda: TOKEN)
    async with served(app, listen):
        yield found
    if peers is not None:
        await peers.close()


@asynccontextmanager
async def two(*, secret: bytes = SECRET) -> AsyncIterator[tuple[Replica, Replica]]:
    """Each has the other as its peer."""
    one, other = free_ports(2)
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(
                replica(
                    own,
                    Peers(
                        f"127.0.0.1:{peer}",
                        listen=f"127.0.0.1:{own}",
                        secret=lambda: secret,
                        token=lambda: TOKEN,
                    ),
                )
            )
            for own, peer in ((one, other), (other, one))
        ]
        yield found[0], found[1]


async def post(url: str, body: bytes = b"{}") -> int:
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    headers = {"X-Gitea-Signature": signature, "Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient() as client:
        return (await client.post(url, content=body, headers=headers)).status_code


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_webhook_is_relayed_once() -> None:
    async with two() as (first, second):
        assert await post(f"{first.url}/webhook/gitea") == 202
        await until(lambda: second.passes == 1)
        assert await post(f"{second.url}/webhook/gitea") == 202
        await until(lambda: first.passes == 2)
        assert (first.passes, second.passes) == (2, 2)


async def test_a_sync_is_relayed_with_its_org() -> None:
    async with two() as (first, second):
        assert await post(f"{first.url}/sync/acme") == 202
        await until(lambda: second.resyncs == ["acme"])
        assert first.resyncs == ["acme"]


async def test_a_relayed_webhook_needs_the_secret() -> None:
    async with two(secret=b"another") as (first, second):
        assert await post(f"{first.url}/webhook/gitea") == 202
        await until(lambda: first.passes == 1)
        assert await post(f"{first.url}/sync") == 202  # answered after the webhook was relayed
        await until(lambda: bool(second.resyncs))
        assert second.passes == 0


async def test_a_peer_that_is_away_delays_nothing(caplog: pytest.LogCaptureFixture) -> None:
    own, gone = free_ports(2)
    peers = Peers(
        f"127.0.0.1:{gone}", listen=f"127.0.0.1:{own}", secret=lambda: SECRET, token=lambda: TOKEN
    )
    async with replica(own, peers) as only:
        assert await post(f"{only.url}/webhook/gitea") == 202
        await until(lambda: "did not answer" in caplog.text)
    assert only.passes == 1


async def test_a_replica_does_not_relay_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    """The headless Service resolves to every replica, the own one included."""
    (own,) = free_ports(1)
    peers = Peers(
        f"127.0.0.1:{own}", listen=f"0.0.0.0:{own}", secret=lambda: b"another", token=lambda: TOKEN
    )
    async with replica(own, peers) as only:
        assert await post(f"{only.url}/webhook/gitea") == 202
        while peers.is_relaying:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert "answered 401" not in caplog.text


def test_without_a_secret_there_is_nothing_to_sign_with() -> None:
    with pytest.raises(ConfigurationError, match="webhook secret"):
        peers_of("peers:8080", listen="0.0.0.0:8080", secret=bytes, token=lambda: TOKEN)
