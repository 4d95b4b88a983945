"""An API server that only proxies requests to one agent, which signs its answers or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from guildnet.agent_api.signing import (
    AUTH_HEADER,
    SIGNATURE_HEADER,
    NonceMemory,
    RequestRejected,
    answer_signature,
    verify_request,
)
from guildnet.digest import canonical_json, sha256_hex
from guildnet.kube import KubeClient
from guildnet_operator.agents.client import AgentAddress, AgentClient

KEY = bytes(range(32))
PROXY = "/api/v1/namespaces/agents/pods/{pod}/proxy"
WAITING: dict[str, Any] = {
    "run": 0, "attempt": 0, "start": 0, "step": "Waiting", "outcome": None, "failure": None,
    "startedAt": None, "finishedAt": None, "exitCode": None, "contexts": [], "branch": None,
    "commit": None, "published": None, "pullRequest": None, "lastRun": None, "artifacts": [],
    "rejectedArtifacts": [], "editor": {"serving": False}, "logTail": "",
}  # fmt: skip

Spoil = Callable[[web.Response], web.Response]


@dataclass
class FakeAgent:
    """What the agent answers, and its requests. `spoil` makes its answers invalid."""

    state: dict[str, Any] = field(default_factory=lambda: dict(WAITING))
    artifacts: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    spoil: Spoil | None = None
    busy: str = ""
    key: bytes = KEY
    nonces: NonceMemory = field(default_factory=NonceMemory)

    def tag(self) -> str:
        return f'"{sha256_hex(canonical_json(self.state))}"'

    async def serve(self, request: web.Request) -> web.Response:
        target = request.path_qs.partition("/proxy")[2]
        body = await request.read()
        try:
            nonce = verify_request(
                self.key, request.headers.get(AUTH_HEADER), request.method, target, body,
                self.nonces,
            )  # fmt: skip
        except RequestRejected as error:
            return web.Response(status=401, text=str(error))
        self.asked.append((request.method, target, json.loads(body) if body else None))
        answer = await self._answer(request, target.partition("?")[0])
        content = answer.body if isinstance(answer.body, bytes) else b""
        answer.headers[SIGNATURE_HEADER] = answer_signature(self.key, nonce, answer.status, content)
        return self.spoil(answer) if self.spoil else answer

    async def _answer(self, request: web.Request, path: str) -> web.Response:
        if path.startswith("/artifacts/"):
            found = self.artifacts.get(path.rpartition("/")[2])
            return web.Response(status=404 if found is None else 200, body=found or b"")
        if request.method == "POST":
            if self.busy:
                return web.Response(status=409, body=canonical_json({"message": self.busy}))
            return web.Response(status=202, body=canonical_json(self.state))
        if request.headers.get("If-None-Match") == self.tag():
            await asyncio.sleep(0.05)
            return web.Response(status=304, headers={"ETag": self.tag()})
        return web.Response(
            status=200, body=canonical_json(self.state), headers={"ETag": self.tag()}
        )


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
async def client(agent: FakeAgent, tmp_path: Path) -> AsyncIterator[KubeClient]:
    """A client of the API server that proxies to the agent."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", agent.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    async with KubeClient.from_kubeconfig(kubeconfig, namespace="agents") as made:
        yield made
    await runner.cleanup()


@pytest.fixture
def api(client: KubeClient) -> AgentClient:
    return AgentClient(client)


@pytest.fixture
def address() -> AgentAddress:
    return AgentAddress("agents", "pod-1", KEY)
