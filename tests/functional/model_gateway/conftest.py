"""A gateway on a free port before a scripted model endpoint."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from guildnet_agent.supervisor.model_gateway.access import ModelEndpoint
from guildnet_agent.supervisor.model_gateway.budget import Budget
from guildnet_agent.supervisor.model_gateway.gateway import ModelGateway
from guildnet_agent.supervisor.model_gateway.ledger import Ledger, Price
from guildnet_agent.supervisor.model_gateway.protocols import PROTOCOLS, ProtocolName
from guildnet_agent.supervisor.model_gateway.serving import serve_gateway
from guildnet_agent.supervisor.model_gateway.session import GatewaySession
from guildnet_agent.supervisor.model_gateway.upstream import Upstream
from guildnet_devcluster.scripted_model.script import Script
from guildnet_devcluster.scripted_model.server import ScriptedModel, serving

PROVIDER_KEY = "sk-provider-0123456789abcdef"
CLIENT_KEY = "gn-client-key"
MODEL = "model-one"
ALL: tuple[ProtocolName, ...] = ("anthropic", "openai-chat", "openai-responses", "gemini")
PRICE = Price(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))
SCRIPT = Script("/workspace/web", "calc.py", "a - b", "a + b", "python3 -m unittest")


@dataclass
class Gateway:
    """A running gateway with one open session, and a client in the place of the command."""

    app: ModelGateway
    session: GatewaySession
    port: int
    model: ScriptedModel
    client: httpx.AsyncClient
    exhausted: list[str]
    warnings: list[str]

    @property
    def total(self) -> dict[str, Any]:
        return self.session.ledger.to_json()

    def reopen(self, **changes: Any) -> None:
        """Another session with these fields replaced."""
        self.session = replace(self.session, **changes)
        self.app.open(self.session)

    async def ask(self, protocol: ProtocolName, *, stream: bool, **options: Any) -> httpx.Response:
        path, body = question(protocol, stream=stream, **options)
        return await self.client.post(path, json=body, headers=credential(protocol))


def credential(protocol: ProtocolName, key: str = CLIENT_KEY) -> dict[str, str]:
    name, prefix = PROTOCOLS[protocol].credential
    return {name: prefix + key}


def question(
    protocol: ProtocolName, *, stream: bool, model: str = MODEL
) -> tuple[str, dict[str, Any]]:
    """Path and body of the smallest request of a protocol."""
    if protocol == "gemini":
        action = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{action}", {"contents": [{"parts": [{"text": "Hi"}]}]}
    path = {
        "anthropic": "/v1/messages",
        "openai-chat": "/v1/chat/completions",
        "openai-responses": "/v1/responses",
    }[protocol]
    said = (
        {"input": "Hi"}
        if protocol == "openai-responses"
        else {"messages": [{"role": "user", "content": "Hi"}]}
    )
    return path, {"model": model, "stream": stream, **said}


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with serving(ScriptedModel(SCRIPT, PROVIDER_KEY)) as running:
        yield running


@pytest.fixture
async def gateway(model: ScriptedModel) -> AsyncIterator[Gateway]:
    async with running_gateway(model, model.base_url) as running:
        yield running


@asynccontextmanager
async def running_gateway(
    model: ScriptedModel, base_url: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[Gateway]:
    upstream = Upstream(context)
    app = ModelGateway(upstream)
    door = socket.create_server(("127.0.0.1", 0))
    port = door.getsockname()[1]
    exhausted: list[str] = []
    warnings: list[str] = []
    endpoint = ModelEndpoint(ALL, base_url, (MODEL,), {MODEL: PRICE}, PROVIDER_KEY)
    session = GatewaySession(
        endpoint,
        CLIENT_KEY,
        Budget(),
        Ledger(),
        lambda ledger: None,
        exhausted.append,
        warnings.append,
    )
    app.open(session)
    url = f"http://127.0.0.1:{port}"
    async with (
        serve_gateway(app, door),
        httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
    ):
        yield Gateway(app, session, port, model, client, exhausted, warnings)
    await upstream.close()
