"""The server: webhooks that ask to look, readiness, metrics, a local request for a pass."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest

from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.server import Hooks, make_app

SECRET = b"s3cret"
PUSH = json.dumps({"ref": "refs/heads/main"}).encode()


@dataclass
class Asked:
    """What the server asked for."""

    looks: int = 0
    orgs: list[str | None] = field(default_factory=list)
    ready: bool = True

    def trigger(self) -> None:
        self.looks += 1

    def resync(self, org: str | None) -> list[str]:
        self.orgs.append(org)
        return [name for name in ("acme",) if org in (None, name)]

    def readiness(self) -> tuple[bool, dict[str, str]]:
        return self.ready, {} if self.ready else {"repository": "GitUnavailable: no answer"}


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def http(asked: Asked) -> AsyncIterator[httpx.AsyncClient]:
    hooks = Hooks(asked.trigger, asked.resync, asked.readiness)
    app = make_app(hooks, Metrics(), secret=SECRET, branch="main")
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_signed_webhook_asks_to_look_and_a_forged_one_does_not(
    http: httpx.AsyncClient, asked: Asked
) -> None:
    mac = hmac.new(SECRET, PUSH, hashlib.sha256).hexdigest()
    answer = await http.post("/webhook/gitea", content=PUSH, headers={"X-Gitea-Signature": mac})
    assert (answer.status_code, asked.looks) == (202, 1)
    forged = await http.post(
        "/webhook/gitea", content=PUSH, headers={"X-Gitea-Signature": "0" * 64}
    )
    assert (forged.status_code, asked.looks) == (401, 1)
    large = await http.post("/webhook/generic", content=b"x" * (2 << 20))
    assert (large.status_code, asked.looks) == (413, 1)


async def test_without_a_secret_no_webhook_is_taken(asked: Asked) -> None:
    """A signature over an empty secret is anybody's."""
    hooks = Hooks(asked.trigger, asked.resync, asked.readiness)
    app = make_app(hooks, Metrics(), secret=b"", branch="main")
    mac = hmac.new(b"", PUSH, hashlib.sha256).hexdigest()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        answer = await client.post(
            "/webhook/gitea", content=PUSH, headers={"X-Gitea-Signature": mac}
        )
    assert (answer.status_code, asked.looks) == (403, 0)


async def test_sync_is_for_this_machine_alone(http: httpx.AsyncClient, asked: Asked) -> None:
    assert (await http.post("/sync")).json()["orgs"] == ["acme"]
    assert (await http.post("/sync/acme")).status_code == 202
    assert (await http.post("/sync/none")).status_code == 404
    page = await http.post("/sync", headers={"Origin": "https://evil.example"})
    assert page.status_code == 403
    assert asked.orgs == [None, "acme", "none"]


async def test_readiness_says_what_is_wrong(http: httpx.AsyncClient, asked: Asked) -> None:
    """I10."""
    assert (await http.get("/ready")).status_code == 200
    asked.ready = False
    answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["repository"].startswith("GitUnavailable")
    assert (await http.get("/health")).status_code == 200
    assert "guildnet_webhooks_total" in (await http.get("/metrics")).text
