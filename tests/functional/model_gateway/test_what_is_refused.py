"""What a hostile command tries, and what it gets: neither the key nor another host."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.functional.model_gateway.certificate import make_certificate
from tests.functional.model_gateway.conftest import (
    CLIENT_KEY,
    MODEL,
    PROVIDER_KEY,
    SCRIPT,
    credential,
    question,
    running_gateway,
)

from guildnet.errors import ConfigurationError
from guildnet_agent.supervisor.model_gateway import gateway as gateway_module
from guildnet_agent.supervisor.model_gateway.access import parse_endpoint
from guildnet_agent.supervisor.model_gateway.protocols import PROTOCOLS
from guildnet_devcluster.scripted_model.server import ScriptedModel, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.model_gateway.conftest import Gateway

    from guildnet_agent.supervisor.model_gateway.protocols import ProtocolName

ALL = pytest.mark.parametrize("protocol", list(PROTOCOLS))


async def raw(gateway: Gateway, data: bytes, *, wait: float = 10) -> bytes:
    """What a socket answers to these bytes, until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    with contextlib.closing(writer):
        writer.write(data)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), wait)


def request_bytes(target: str, *headers: str, body: bytes = b"", method: str = "POST") -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "connection: close",
        f"x-api-key: {CLIENT_KEY}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


BODY = json.dumps(question("anthropic", stream=False)[1]).encode()
LENGTH = f"content-length: {len(BODY)}"


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/v1/messages",
        "//evil.example/v1/messages",
        "/v1/messages/../../admin",
        "/v1/./messages",
        "/v1//messages",
        "/v1/messages/",
        "/v1/%6dessages",
        "/v1/messages%2f..%2fkeys",
        "/v1/messages;x=1",
        "/v1/messages@evil.example",
        "/v1/files",
        "/v1/organizations/api_keys",
        "/v1/messages/batches",
        "/v1beta/models/../../secrets:generateContent",
        "/v1beta/models/a%2Fb:generateContent",
        "/v1beta/models/model-one:predict",
        "*",
        "/",
    ],
)
async def test_only_the_exact_inference_paths_pass(gateway: Gateway, target: str) -> None:
    answer = await raw(gateway, request_bytes(target, "host: x", LENGTH, body=BODY))
    assert answer.startswith(b"HTTP/1.1 404")
    assert gateway.model.seen == []


async def test_connect_opens_no_tunnel(gateway: Gateway) -> None:
    target = f"127.0.0.1:{gateway.model.port}"
    answer = await raw(gateway, request_bytes(target, f"host: {target}", method="CONNECT"))
    assert answer.startswith(b"HTTP/1.1 404")
    assert gateway.model.seen == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_other_methods_are_refused(gateway: Gateway, method: str) -> None:
    data = request_bytes("/v1/messages", "host: x", LENGTH, body=BODY, method=method)
    assert (await raw(gateway, data)).startswith(b"HTTP/1.1 404")
    assert gateway.model.seen == []


async def test_a_forged_host_changes_nothing(gateway: Gateway) -> None:
    data = request_bytes("/v1/messages", "host: evil.example", LENGTH, body=BODY)
    assert (await raw(gateway, data)).startswith(b"HTTP/1.1 200")
    assert gateway.model.seen[0].headers["host"] == f"127.0.0.1:{gateway.model.port}"


async def test_two_lengths_do_not_smuggle_a_second_request(gateway: Gateway) -> None:
    hidden = b"GET /v1/files HTTP/1.1\r\nhost: x\r\n\r\n"
    chunked = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    both = ("host: x", "content-length: 5", "transfer-encoding: chunked")
    await raw(gateway, request_bytes("/v1/messages", *both, body=chunked + hidden))
    lengths = ("host: x", LENGTH, "content-length: 5")
    assert (await raw(gateway, request_bytes("/v1/messages", *lengths, body=BODY))).startswith(
        b"HTTP/1.1 400"
    )
    assert {seen.target for seen in gateway.model.seen} <= {"/v1/messages"}
    for seen in gateway.model.seen:
        assert "transfer-encoding" not in seen.headers
        assert seen.body == BODY


async def test_a_header_with_a_line_break_is_not_passed(gateway: Gateway) -> None:
    odd = "anthropic-beta: a\r\n\tx-api-key: other"
    await raw(gateway, request_bytes("/v1/messages", "host: x", LENGTH, odd, body=BODY))
    for seen in gateway.model.seen:
        assert seen.headers["x-api-key"] == PROVIDER_KEY


async def test_a_second_credential_header_does_not_reach_the_provider(gateway: Gateway) -> None:
    extra = ("host: x", LENGTH, "authorization: Bearer mine", "x-goog-api-key: mine")
    answer = await raw(gateway, request_bytes("/v1/messages", *extra, body=BODY))
    assert answer.startswith(b"HTTP/1.1 200")
    headers = gateway.model.seen[0].headers
    assert headers["x-api-key"] == PROVIDER_KEY
    assert not {"authorization", "x-goog-api-key"} & set(headers)


@ALL
async def test_another_key_is_refused_in_the_protocols_own_shape(
    gateway: Gateway, protocol: ProtocolName
) -> None:
    path, body = question(protocol, stream=True)
    for headers in ({}, credential(protocol, "gn-old"), credential(protocol, "x")):
        answer = await gateway.client.post(path, json=body, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["message"]
    gateway.app.close()
    answer = await gateway.client.post(path, json=body, headers=credential(protocol))
    assert answer.status_code == 401
    assert gateway.model.seen == []


@ALL
async def test_a_model_that_is_not_allowed_is_refused(
    gateway: Gateway, protocol: ProtocolName
) -> None:
    answer = await gateway.ask(protocol, stream=True, model="dear-model")
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "'dear-model' is not allowed" in message
    assert MODEL in message
    assert gateway.model.seen == []
    assert gateway.total["requests"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "model-one", "messages": [], "model": "dear-model"}',
        b'{"model": "model-one", "messages": [], "mod\\u0065l": "dear-model"}',
        b'{"model": "model-one", "messages": [], "Model": "dear-model"}',
        b'{"model": "model-one", "messages": [], "stream": false, "\xc5\xbftream": true}',
        b'{"model": ["model-one"], "messages": []}',
        b'{"messages": []}',
        b'["model-one"]',
        b"model=model-one",
        b'{"model": "model-one", "messages": [',
        b'{"model": "model-one", "messages": ' + b"[" * 2_000_000,
        b'{"model": "model-one", "background": true}',
        b"",
    ],
)
async def test_a_body_that_could_mean_another_model_is_refused(
    gateway: Gateway, body: bytes
) -> None:
    answer = await gateway.client.post(
        "/v1/responses", content=body, headers=credential("openai-responses")
    )
    assert answer.status_code == 400
    assert "not accepted" in answer.json()["error"]["message"]
    assert gateway.model.seen == []


async def test_a_protocol_that_the_endpoint_does_not_speak_is_not_passed(
    gateway: Gateway,
) -> None:
    gateway.reopen(endpoint=replace(gateway.session.endpoint, protocols=("anthropic",)))
    assert (await gateway.ask("openai-chat", stream=False)).status_code == 404
    assert (await gateway.ask("anthropic", stream=False)).status_code == 200
    assert len(gateway.model.seen) == 1


async def test_a_body_beyond_the_bound_is_refused_before_it_is_read(gateway: Gateway) -> None:
    huge = request_bytes("/v1/messages", "host: x", "content-length: 40000000")
    assert (await raw(gateway, huge)).startswith(b"HTTP/1.1 413")
    assert gateway.model.seen == []


async def test_a_body_that_never_ends_is_cut_off(gateway: Gateway) -> None:
    head = request_bytes("/v1/messages", "host: x", "transfer-encoding: chunked")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    sent = 0
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        while not reader.at_eof() and sent < 2 * gateway_module.MAX_BODY_BYTES:
            writer.write(piece)
            await writer.drain()
            sent += 1024 * 1024
    writer.close()
    # Data that nobody reads any more makes the kernel reset the connection; then the answer may
    # be lost on its way.
    assert sent < 2 * gateway_module.MAX_BODY_BYTES
    assert gateway.model.seen == []
    assert (await gateway.ask("anthropic", stream=False)).status_code == 200


async def test_a_body_that_is_never_sent_is_given_up(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "MAX_BODY_SECONDS", 0.2)
    data = request_bytes("/v1/messages", "host: x", "content-length: 100", body=b"{")
    answer = await raw(gateway, data)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"took more than" in answer


@ALL
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_answer_that_echoes_the_key_is_masked(
    gateway: Gateway, protocol: ProtocolName, stream: bool
) -> None:
    gateway.model.fault = "echo"
    answer = await gateway.ask(protocol, stream=stream)
    assert "your key is ***." in answer.text
    assert PROVIDER_KEY not in answer.text
    assert gateway.total["inputTokens"] == 1000


async def test_a_key_that_is_split_over_two_pieces_is_masked(gateway: Gateway) -> None:
    key = PROVIDER_KEY.encode()

    async def teasing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nx-request-id: " + key + b"\r\n\r\n")
        for piece in (b"the key: ", key[:7], key[7:], b" it was"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.close()

    server = await asyncio.start_server(teasing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    gateway.reopen(endpoint=replace(gateway.session.endpoint, base_url=base))
    async with server:
        answer = await gateway.ask("anthropic", stream=False)
    assert answer.text == "the key: *** it was"
    assert answer.headers["x-request-id"] == "***"


async def test_redirects_are_not_followed(gateway: Gateway) -> None:
    async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/?key=secret\r\n"
            b"content-length: 0\r\n\r\n"
        )
        writer.close()

    server = await asyncio.start_server(redirecting, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    gateway.reopen(endpoint=replace(gateway.session.endpoint, base_url=base))
    async with server:
        answer = await gateway.ask("anthropic", stream=False)
    assert answer.status_code == 502
    assert "redirect" in answer.json()["error"]["message"]
    assert "location" not in answer.headers
    assert "secret" not in answer.text


async def test_an_endpoint_that_is_away_is_named_without_the_key(gateway: Gateway) -> None:
    base = "http://127.0.0.1:1"
    gateway.reopen(endpoint=replace(gateway.session.endpoint, base_url=base))
    answer = await gateway.ask("openai-responses", stream=True)
    assert answer.status_code == 502
    assert "gave no answer" in answer.json()["error"]["message"]
    assert PROVIDER_KEY not in answer.text


async def test_a_certificate_of_nobody_known_is_not_trusted(
    gateway: Gateway, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(ScriptedModel(SCRIPT, PROVIDER_KEY), tls=tls) as model:
        async with running_gateway(model, model.base_url) as distrusting:
            answer = await distrusting.ask("anthropic", stream=False)
            assert answer.status_code == 502
            assert "certificate" in answer.json()["error"]["message"].lower()
        trust = ssl.create_default_context(cafile=str(certificate))
        async with running_gateway(model, model.base_url, trust) as trusting:
            assert (await trusting.ask("anthropic", stream=True)).status_code == 200
    assert len(model.seen) == 1


async def test_an_authority_of_the_orgs_own_is_trusted_while_its_secret_has_it(
    tmp_path: Path,
) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(ScriptedModel(SCRIPT, PROVIDER_KEY), tls=tls) as model:
        async with running_gateway(model, model.base_url) as gateway:
            own = replace(gateway.session.endpoint, authorities=certificate.read_text())
            assert (await gateway.ask("anthropic", stream=True)).status_code == 502
            gateway.reopen(endpoint=own)
            assert (await gateway.ask("anthropic", stream=True)).status_code == 200
            gateway.reopen(endpoint=replace(own, authorities=None))
            assert (await gateway.ask("anthropic", stream=True)).status_code == 502


def test_a_ca_crt_without_certificates_is_refused() -> None:
    value = {"protocol": "anthropic", "baseURL": "https://llm.example", "names": ["m"]}
    with pytest.raises(ConfigurationError, match="does not contain certificates"):
        parse_endpoint(value, "sk-key", "not a certificate")
