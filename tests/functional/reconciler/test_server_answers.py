"""The server: webhooks that ask to look, and what is shown to whom."""

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
from guildnet_reconciler.triggers.webhook import MAX_BODY_BYTES

SECRET = b"s3cret"
PUSH = json.dumps({"ref": "refs/heads/main"}).encode()
TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Asked:
    """What the server asked for."""

    looks: int = 0
    orgs: list[str | None] = field(default_factory=list)
    ready: bool = True
    metrics: Metrics = field(default_factory=Metrics)

    def trigger(self) -> None:
        self.looks += 1

    def resync(self, org: str | None) -> list[str]:
        self.orgs.append(org)
        return [name for name in ("acme",) if org in (None, name)]

    def readiness(self) -> tuple[bool, dict[str, str]]:
        fault = {} if self.ready else {"repository": "GitUnavailable: no answer"}
        return self.ready, {"org/acme": "Done", **fault}

    def client(
        self,
        *,
        peer: str = "127.0.0.1",
        base: str = "http://localhost:8080",
        secret: bytes = SECRET,
        token: str | None = TOKEN,
    ) -> httpx.AsyncClient:
        hooks = Hooks(self.trigger, self.resync, self.readiness)
        self.metrics.faults.labels("acme").set(0)
        app = make_app(
            hooks,
            self.metrics,
            secret=lambda: secret,
            branch="main",
            token=None if token is None else lambda: token,
        )
        transport = httpx.ASGITransport(app, client=(peer, 1))
        return httpx.AsyncClient(transport=transport, base_url=base)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def http(asked: Asked) -> AsyncIterator[httpx.AsyncClient]:
    async with asked.client() as client:
        yield client


def signature(body: bytes) -> dict[str, str]:
    return {"X-Gitea-Signature": hmac.new(SECRET, body, hashlib.sha256).hexdigest()}


async def test_a_signed_webhook_asks_to_look_and_a_forged_one_does_not(asked: Asked) -> None:
    async with asked.client(peer="192.0.2.7", base="http://hooks.example") as http:
        answer = await http.post("/webhook/gitea", content=PUSH, headers=signature(PUSH))
        assert (answer.status_code, asked.looks) == (202, 1)
        forged = await http.post("/webhook/gitea", content=PUSH, headers=signature(b"other"))
        assert (forged.status_code, asked.looks) == (401, 1)


@pytest.mark.parametrize("body", [b'{"ref":"\\ud800"}', b"\xff", b"[" * 200_000, b""])
async def test_no_signed_body_is_a_fault_of_the_server(
    http: httpx.AsyncClient, asked: Asked, body: bytes
) -> None:
    answer = await http.post("/webhook/gitea", content=body, headers=signature(body))
    assert (answer.status_code, asked.looks) == (202, 1)


async def test_bodies_are_taken_up_to_25_mib(http: httpx.AsyncClient, asked: Asked) -> None:
    whole = b"x" * MAX_BODY_BYTES
    answer = await http.post("/webhook/gitea", content=whole, headers=signature(whole))
    assert (answer.status_code, asked.looks) == (202, 1)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    refused = await http.post("/webhook/gitea", content=endless(), headers=signature(b""))
    assert (refused.status_code, asked.looks) == (413, 1)


@pytest.mark.parametrize("path", ["/webhook/gitea/", "/webhook/gitea//"])
async def test_a_slash_at_the_end_is_taken(
    http: httpx.AsyncClient, asked: Asked, path: str
) -> None:
    answer = await http.post(path, content=PUSH, headers=signature(PUSH))
    assert (answer.status_code, asked.looks) == (202, 1)
    assert (await http.get("/health/")).status_code == 200
    assert (await http.post("/sync/acme/", headers=BEARER)).status_code == 202


async def test_without_a_secret_no_webhook_is_taken(asked: Asked) -> None:
    """A signature over an empty secret is anybody's."""
    mac = hmac.new(b"", PUSH, hashlib.sha256).hexdigest()
    async with asked.client(secret=b"") as http:
        answer = await http.post("/webhook/gitea", content=PUSH, headers={"X-Gitea-Signature": mac})
    assert (answer.status_code, asked.looks) == (403, 0)


async def test_a_pass_needs_the_token(http: httpx.AsyncClient, asked: Asked) -> None:
    """Also from this machine: a proxy on it makes strangers look local."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        assert (await http.post("/sync", headers=headers)).status_code == 401
    assert asked.orgs == []
    assert (await http.post("/sync", headers=BEARER)).json()["orgs"] == ["acme"]
    assert (await http.post("/sync/acme", headers=BEARER)).status_code == 202
    assert (await http.post("/sync/none", headers=BEARER)).status_code == 404
    assert asked.orgs == [None, "acme", "none"]


STRANGERS = [
    ("192.0.2.7", "http://localhost:8080", {}),
    ("127.0.0.1", "http://evil.example:8080", {}),
    ("127.0.0.1", "http://127.0.0.1.evil.example", {}),
    ("127.0.0.1", "http://localhost:8080", {"X-Forwarded-For": "192.0.2.7"}),
    ("127.0.0.1", "http://localhost:8080", {"Forwarded": "for=192.0.2.7"}),
    ("127.0.0.1", "http://localhost:8080", {"Via": "1.1 proxy"}),
    ("127.0.0.1", "http://localhost:8080", {"Origin": "https://evil.example"}),
    ("::ffff:192.0.2.7", "http://localhost:8080", {}),
]


@pytest.mark.parametrize(("peer", "base", "headers"), STRANGERS)
@pytest.mark.parametrize("token", [TOKEN, None])
async def test_strangers_learn_one_word(
    asked: Asked, peer: str, base: str, headers: dict[str, str], token: str | None
) -> None:
    """I8: neither other machines, nor web pages that rebind their name to this one."""
    asked.ready = False
    async with asked.client(peer=peer, base=base, token=token) as http:
        ready = await http.get("/ready", headers=headers)
        assert (ready.status_code, ready.json()) == (503, {"ready": False})
        scrape = await http.get("/metrics", headers=headers)
        assert scrape.status_code == 401
        assert "acme" not in scrape.text
        assert (await http.get("/health", headers=headers)).json() == {"status": "ok"}
        assert (await http.post("/sync", headers=headers)).status_code == 401
    assert asked.orgs == []


async def test_the_tokens_holder_is_shown_all_from_anywhere(asked: Asked) -> None:
    async with asked.client(peer="192.0.2.7", base="http://hooks.example") as http:
        assert (await http.get("/ready", headers=BEARER)).json()["org/acme"] == "Done"
        assert "acme" in (await http.get("/metrics", headers=BEARER)).text


async def test_readiness_says_what_is_wrong(http: httpx.AsyncClient, asked: Asked) -> None:
    """I10."""
    assert (await http.get("/ready")).status_code == 200
    asked.ready = False
    answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["repository"].startswith("GitUnavailable")
    assert (await http.get("/health")).status_code == 200
    assert "guildnet_webhooks_total" in (await http.get("/metrics")).text
