"""Inference requests reach the provider with its key; their usage is counted from the answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.functional.model_gateway.conftest import (
    CLIENT_KEY,
    MODEL,
    PROVIDER_KEY,
    credential,
    question,
)

from guildnet_agent.supervisor.model_gateway.protocols import PROTOCOLS

if TYPE_CHECKING:
    from tests.functional.model_gateway.conftest import Gateway

    from guildnet_agent.supervisor.model_gateway.access import ModelEndpoint
    from guildnet_agent.supervisor.model_gateway.protocols import ProtocolName

ALL = pytest.mark.parametrize("protocol", list(PROTOCOLS))


@ALL
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_usage_equals_what_the_endpoint_served(
    gateway: Gateway, protocol: ProtocolName, stream: bool
) -> None:
    for _ in range(3):
        answer = await gateway.ask(protocol, stream=stream)
        assert answer.status_code == 200
        assert "Repair a failing test" in answer.text
    served = gateway.model.total()
    assert served["requests"] == 3
    total = gateway.total
    assert {name: total[name] for name in served} == served
    assert total["models"][MODEL]["requests"] == 3
    cost = (served["inputTokens"] * 3 + served["outputTokens"] * 15) / 10**6
    assert total["costUsd"] == pytest.approx(cost, abs=1e-9)


@ALL
async def test_only_the_providers_key_reaches_the_provider(
    gateway: Gateway, protocol: ProtocolName
) -> None:
    path, body = question(protocol, stream=False)
    sent = {
        **credential(protocol),
        "cookie": "session=1",
        "x-forwarded-host": "evil.example",
        "proxy-authorization": "Basic abc",
        "anthropic-version": "2023-06-01",
    }
    answer = await gateway.client.post(path, json=body, headers=sent)
    assert answer.status_code == 200
    (seen,) = gateway.model.seen
    name, prefix = PROTOCOLS[protocol].credential
    assert seen.headers[name] == prefix + PROVIDER_KEY
    assert CLIENT_KEY not in json.dumps(seen.headers)
    assert seen.headers["host"] == f"127.0.0.1:{gateway.model.port}"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert not {"cookie", "x-forwarded-host", "proxy-authorization"} & set(seen.headers)


@ALL
async def test_a_cut_stream_counts_what_it_reported_and_estimates_the_rest(
    gateway: Gateway, protocol: ProtocolName
) -> None:
    gateway.model.fault = "cut"
    await gateway.ask(protocol, stream=True)
    total = gateway.total
    assert total["requests"] == 1
    reported = {"anthropic": (1000, 1), "gemini": (1000, 50)}.get(protocol)
    if reported:  # these report usage with their first event
        assert (total["inputTokens"], total["outputTokens"]) == reported
        assert "unreported" not in total
    else:
        assert total["unreported"] == 1
        assert 0 < total["inputTokens"] < 100
        assert 0 < total["outputTokens"] < 100


@ALL
@pytest.mark.parametrize("status", [401, 429, 500])
async def test_an_error_of_the_provider_passes_unchanged(
    gateway: Gateway, protocol: ProtocolName, status: int
) -> None:
    gateway.model.fault = str(status)
    answer = await gateway.ask(protocol, stream=True)
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == f"scripted {status}"
    assert gateway.total["requests"] == 1
    assert gateway.total["inputTokens"] == 0


async def test_a_stream_of_chat_completions_reports_usage_without_being_asked(
    gateway: Gateway,
) -> None:
    await gateway.ask("openai-chat", stream=True)
    sent = json.loads(gateway.model.seen[0].body)
    assert sent["stream_options"] == {"include_usage": True}
    assert gateway.total["inputTokens"] == 1000


async def test_counting_tokens_and_listing_models_pass_and_cost_nothing(gateway: Gateway) -> None:
    _, body = question("anthropic", stream=False)
    counted = await gateway.client.post(
        "/v1/messages/count_tokens", json=body, headers=credential("anthropic")
    )
    assert counted.json()["input_tokens"] == 1000
    _, body = question("gemini", stream=False)
    counted = await gateway.client.post(
        f"/v1beta/models/{MODEL}:countTokens", json=body, headers=credential("gemini")
    )
    assert counted.json()["totalTokens"] == 1000
    for path in ("/v1/models", "/v1beta/models"):
        listed = await gateway.client.get(path, headers=credential("gemini"))
        assert listed.status_code == 200
    assert gateway.total["requests"] == 0


async def test_a_base_url_may_have_a_path_and_the_version(gateway: Gateway) -> None:
    """People write base URLs as their provider's pages show them."""
    model = gateway.model
    for base in (f"{model.base_url}/v1", f"{model.base_url}/v1/", f"{model.base_url}/team/v1"):
        gateway.reopen(endpoint=_with_base(gateway, base))
        assert (await gateway.ask("openai-chat", stream=False)).status_code == 200
    assert [seen.target for seen in model.seen] == [
        "/v1/chat/completions",
        "/v1/chat/completions",
        "/team/v1/chat/completions",
    ]


def _with_base(gateway: Gateway, base: str) -> ModelEndpoint:
    return replace(gateway.session.endpoint, base_url=base)


async def test_events_pass_as_they_come(gateway: Gateway) -> None:
    """The first event is there while the provider still holds back the second."""
    seen: list[bytes] = []
    release = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 0}}\n\n'
        )
        await writer.drain()
        await release.wait()
        writer.write(b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\n')
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway.reopen(endpoint=_with_base(gateway, f"http://127.0.0.1:{port}"))
    path, body = question("openai-chat", stream=True)
    async with (
        server,
        gateway.client.stream("POST", path, json=body, headers=credential("openai-chat")) as answer,
    ):
        async for piece in answer.aiter_bytes():
            seen.append(piece)
            release.set()
    assert len(seen) == 2
    assert (gateway.total["inputTokens"], gateway.total["outputTokens"]) == (7, 3)


async def test_a_client_that_leaves_cancels_the_provider(gateway: Gateway) -> None:
    gone = asyncio.Event()

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
            b'data: {"usage": {"prompt_tokens": 7}}\n\n'
        )
        await writer.drain()
        while await reader.read(65536):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(patient, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway.reopen(endpoint=_with_base(gateway, f"http://127.0.0.1:{port}"))
    path, body = question("openai-chat", stream=True)
    async with server:
        async with gateway.client.stream(
            "POST", path, json=body, headers=credential("openai-chat")
        ) as answer:
            async for _ in answer.aiter_bytes():
                break
        await asyncio.wait_for(gone.wait(), 10)
    assert gateway.total["inputTokens"] == 7


@pytest.mark.parametrize("is_read", [False, True], ids=["before the answer", "within it"])
async def test_a_client_that_leaves_early_is_counted_by_an_estimate(
    gateway: Gateway, is_read: bool
) -> None:
    """Or a command could use the model beyond every budget by hanging up before the usage."""
    asked, left = asyncio.Event(), asyncio.Event()
    event = b'data: {"choices": [{"delta": {"content": "' + b"word " * 200 + b'"}}]}\n\n'

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        if is_read:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + event)
            await writer.drain()
        while await reader.read(65536):
            pass
        left.set()
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway.reopen(endpoint=_with_base(gateway, f"http://127.0.0.1:{port}"))
    path, body = question("openai-chat", stream=True)
    body |= {"messages": [{"role": "user", "content": "word " * 800}]}
    sent = credential("openai-chat")

    async def read_a_piece() -> None:
        async with gateway.client.stream("POST", path, json=body, headers=sent) as answer:
            async for _ in answer.aiter_bytes():
                break

    async with server:
        client = asyncio.create_task(read_a_piece())
        await asyncio.wait_for(asked.wait(), 10)
        if is_read:
            await client
        else:
            client.cancel()
        await asyncio.wait_for(left.wait(), 10)
        await gateway.app.drained()
    total = gateway.total
    assert (total["requests"], total["unreported"]) == (1, 1)
    assert 1000 <= total["inputTokens"] < 1200
    assert (200 <= total["outputTokens"] < 300) == is_read
    assert total["costUsd"] > 0
