"""The gateway as an ASGI application: one request in, one request to the provider, its answer back.

Nothing of the request but method, path, a few headers and the body reaches the provider; the host
is always that of the org's base URL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from guildnet.redact import Redactor
from guildnet_agent.supervisor.model_gateway import json_members
from guildnet_agent.supervisor.model_gateway.protocols import (
    ErrorKind,
    Matched,
    Protocol,
    error_answer,
    match,
    upstream_url,
)
from guildnet_agent.supervisor.model_gateway.request_body import read_body
from guildnet_agent.supervisor.model_gateway.session import GatewaySession
from guildnet_agent.supervisor.model_gateway.upstream import (
    Upstream,
    UpstreamAnswer,
    UpstreamFailed,
    outgoing_headers,
)
from guildnet_agent.supervisor.model_gateway.usage_reading import (
    AnswerUsage,
    Tokens,
    estimated_tokens,
)

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_HELD_BYTES = 96 * 1024 * 1024
"""Of all bodies being held at once."""

MAX_BODY_SECONDS = 120.0
_PARSED_IN_LOOP_BYTES = 128 * 1024

# A kept connection can be closed by us while the next request is on its way; on loopback a new one
# costs nothing.
_CLOSE = (b"connection", b"close")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):
    """A request that is answered here."""

    def __init__(self, protocol: Protocol | None, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.protocol = protocol
        self.kind = kind


@dataclass(frozen=True)
class Passed:
    """A request that may go to the provider."""

    matched: Matched
    session: GatewaySession
    headers: Mapping[str, str]
    url: str
    body: bytes
    model: str | None


class ModelGateway:
    """Serves the session that is open; without one every request is refused."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._session: GatewaySession | None = None
        self._held_bytes = 0
        self._under_way: set[asyncio.Task[Any]] = set()

    def open(self, session: GatewaySession) -> None:
        """Serve this start; the key of the one before is worth nothing from now on."""
        self._upstream.trust(session.endpoint.authorities)
        self._session = session

    def close(self) -> None:
        """Serve nobody; requests under way are cancelled."""
        self._session = None
        for task in self._under_way:
            task.cancel()

    async def drained(self) -> None:
        """Until no request is under way, so that everything is counted."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        held = _Held(self)
        try:
            passed = await self._admit(scope, receive, held)
            await self._pass(scope["method"], passed, receive, send)
        except Refused as refused:
            await _answer(send, *error_answer(refused.protocol, refused.kind, str(refused)))
        except _ClientGone:
            return
        finally:
            held.release()

    async def _admit(self, scope: Scope, receive: Receive, held: _Held) -> Passed:
        """The request to send; Refused. What costs nothing to check is checked first."""
        session = self._session
        headers = _headers(scope)
        path = bytes(scope["raw_path"]).decode("latin-1")
        offered = session.endpoint.protocols if session else ()
        matched = match(scope["method"], path, offered, headers)
        protocol = matched.protocol if matched else None
        if session is None or not session.admits(_credential(scope, headers)):
            raise Refused(protocol, "unauthorized", "this key is not that of the running start")
        if matched is None:
            raise Refused(
                None,
                "not_found",
                "the model gateway passes only the inference paths of "
                + ", ".join(session.endpoint.protocols),
            )
        body, model = b"", None
        if matched.kind != "list":
            data = await _read_body(receive, headers, matched.protocol, held)
            body, model = await _understand(data, matched)
            _check_model(model, session, matched.protocol)
        if matched.kind == "inference" and (text := session.refusal()):
            raise Refused(matched.protocol, "budget", text)
        url = upstream_url(session.endpoint.base_url, matched) + _query(scope, matched.protocol)
        sent = outgoing_headers(headers, matched.protocol, session.endpoint.key)
        return Passed(matched, session, sent, url, body, model)

    async def _pass(self, method: str, passed: Passed, receive: Receive, send: Send) -> None:
        """Send the request and pass the answer on; ends at once when the client goes away."""
        work = asyncio.create_task(self._exchange(method, passed, send))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait([work, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not work.done() or work.cancelled():
                raise _ClientGone
            work.result()
        finally:
            for task in (work, leaving):
                task.cancel()
            await asyncio.wait([work, leaving])

    async def _exchange(self, method: str, passed: Passed, send: Send) -> None:
        meter = _Meter(passed)
        try:
            async with self._upstream.send(
                method, passed.url, passed.headers, passed.body
            ) as answer:
                await _pass_back(answer, passed, meter, send)
        except UpstreamFailed as error:
            text = Redactor([passed.session.endpoint.key])(str(error))
            log.warning("%s", text)
            meter.has_failed = True
            if meter.has_answer:
                # Headers are out: ending without the last chunk tells the client of the cut.
                raise _ClientGone from error
            raise Refused(passed.matched.protocol, "upstream", text) from error
        finally:
            meter.end()

    def hold(self, count: int) -> bool:
        if self._held_bytes + count > MAX_HELD_BYTES:
            return False
        self._held_bytes += count
        return True

    def release(self, count: int) -> None:
        self._held_bytes -= count


class _ClientGone(Exception):
    """There is nobody left to answer, or nothing more that can be said."""


class _Held:
    """The share of one request in the bytes that all requests hold."""

    def __init__(self, gateway: ModelGateway) -> None:
        self._gateway = gateway
        self._count = 0

    def take(self, count: int) -> bool:
        taken = self._gateway.hold(count)
        self._count += count if taken else 0
        return taken

    def release(self) -> None:
        self._gateway.release(self._count)


class _Meter:
    """Counts one exchange, however it ends.

    A client that goes away before the usage is reported would use the model for nothing, so what
    its request asked and what had passed of the answer is estimated.
    """

    def __init__(self, passed: Passed) -> None:
        self._session = passed.session
        self._protocol = passed.matched.protocol.name
        self._model = passed.model if passed.matched.kind == "inference" else None
        self._asked = estimated_tokens(len(passed.body))
        self._usage: AnswerUsage | None = None
        self.has_answer = False
        self.has_failed = False
        self.is_complete = False
        if self._model:
            self._session.count_request(self._model)

    def begin(self, answer: UpstreamAnswer) -> None:
        self.has_answer = True
        if answer.status >= 400:
            self.has_failed = True
        elif self._model:
            self._usage = AnswerUsage(self._protocol, is_stream=answer.is_stream)

    def feed(self, chunk: bytes) -> None:
        if self._usage:
            self._usage.feed(chunk)

    def end(self) -> None:
        if self._model is None:
            return
        if self._usage is None:
            if self.has_failed:
                self._session.count_failure(self._model)
            else:
                self._session.count_answer(self._model, Tokens(input=self._asked), is_estimate=True)
            return
        self._usage.end()
        reported = self._usage.tokens
        if self.is_complete and reported is not None:
            self._session.count_answer(self._model, reported)
            return
        estimate = self._usage.estimate
        tokens = replace(estimate, input=estimate.input or self._asked)
        self._session.count_answer(self._model, tokens, is_estimate=True)


async def _pass_back(answer: UpstreamAnswer, passed: Passed, meter: _Meter, send: Send) -> None:
    """The answer as it comes, with the provider's key masked should it be in it."""
    redactor = Redactor([passed.session.endpoint.key])
    headers = [
        (name.encode("latin-1"), redactor(value).encode("latin-1"))
        for name, value in answer.headers.items()
    ]
    headers.append(_CLOSE)
    meter.begin(answer)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    # latin-1 keeps every byte as it is, and the key is ASCII.
    stream = redactor.stream()
    async for chunk in answer.chunks:
        meter.feed(chunk)
        shown = stream.feed(chunk.decode("latin-1"))
        if shown:
            await send(_body(shown, more=True))
    meter.is_complete = True
    await send(_body(stream.flush(), more=False))


def _body(text: str, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": text.encode("latin-1"), "more_body": more}


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-should-retry", b"true" if status in (502, 503) else b"false"),
        _CLOSE,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(scope: Scope) -> dict[str, str]:
    """By lower-case name; of a name that comes twice the first counts."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found


def _credential(scope: Scope, headers: Mapping[str, str]) -> str | None:
    """The client's key, in whichever way its protocol carries it."""
    for name in ("x-api-key", "x-goog-api-key"):
        if name in headers:
            return headers[name]
    if "authorization" in headers:
        return headers["authorization"].removeprefix("Bearer ").strip()
    return dict(_query_pairs(scope)).get("key")


def _query_pairs(scope: Scope) -> list[tuple[str, str]]:
    text = bytes(scope["query_string"]).decode("latin-1")
    try:
        return parse_qsl(text, max_num_fields=32)
    except ValueError:
        return []


def _query(scope: Scope, protocol: Protocol) -> str:
    """The part of the query that the protocol knows."""
    pairs = [(name, value) for name, value in _query_pairs(scope) if name in protocol.query]
    return f"?{urlencode(pairs)}" if pairs else ""


async def _read_body(
    receive: Receive, headers: Mapping[str, str], protocol: Protocol, held: _Held
) -> bytes:
    """The whole body. Refused beyond the bounds in bytes and time."""
    too_large = Refused(
        protocol, "too_large", f"a request is at most {MAX_BODY_BYTES // 2**20} MiB"
    )
    said = headers.get("content-length", "0")
    if said.isdigit() and (len(said) > 12 or int(said) > MAX_BODY_BYTES):
        raise too_large
    data = bytearray()
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            async for piece in _pieces(receive):
                if len(data) + len(piece) > MAX_BODY_BYTES:
                    raise too_large
                if not held.take(len(piece)):
                    raise Refused(protocol, "busy", "too many large requests at once")
                data += piece
    except TimeoutError:
        text = f"the request's body took more than {MAX_BODY_SECONDS:.0f} s"
        raise Refused(protocol, "invalid", text) from None
    return bytes(data)


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _understand(data: bytes, matched: Matched) -> tuple[bytes, str | None]:
    try:
        if len(data) <= _PARSED_IN_LOOP_BYTES:
            body = read_body(data, matched)
        else:
            body = await asyncio.to_thread(read_body, data, matched)
    except json_members.NotJson as error:
        text = f"the request's body is not accepted: {error}"
        raise Refused(matched.protocol, "invalid", text) from error
    return body.data, body.model


def _check_model(model: str | None, session: GatewaySession, protocol: Protocol) -> None:
    if model not in session.endpoint.names:
        allowed = ", ".join(session.endpoint.names)
        shown = (model or "")[:128]
        raise Refused(
            protocol, "invalid", f"model {shown!r} is not allowed here; allowed: {allowed}"
        )
