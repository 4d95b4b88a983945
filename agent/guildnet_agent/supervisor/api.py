"""The agent API: the requests that the operator may send, signed with a shared key.

Every request except ``/healthz`` must be signed. Every answer to a correctly signed request is
signed too, errors included.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from fastapi import FastAPI, Request, Response

from guildnet.agent_api.signing import (
    AUTH_HEADER,
    SIGNATURE_HEADER,
    NonceMemory,
    RequestRejected,
    answer_signature,
    verify_request,
)
from guildnet.agent_api.state import StartId, StopReason
from guildnet.digest import canonical_json
from guildnet.redact import Redactor
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.artifacts import ArtifactStore, read_log
from guildnet_agent.supervisor.state_board import StateBoard
from guildnet_agent.supervisor.steps.sequence import StartRefused, Steps

MAX_BODY_BYTES = 1024 * 1024
MAX_LOG_ANSWER_BYTES = 64 * 1024
MAX_WAIT_SECONDS = 60.0
STOP_REASONS = get_args(StopReason)
_JSON = "application/json"


class BadRequest(Exception):
    """A signed request is invalid; the message says why."""


@dataclass(frozen=True)
class SignedRequest:
    """A request whose signature was verified."""

    nonce: str
    body: bytes
    request: Request


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = _JSON


@dataclass(frozen=True)
class Api:
    """The API, and the parts of the supervisor that it reads and controls."""

    key: bytes = field(repr=False)
    steps: Steps
    board: StateBoard
    store: ArtifactStore
    settings: Settings
    redact: Redactor
    nonces: NonceMemory = field(default_factory=NonceMemory)

    def application(self) -> FastAPI:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.add_api_route("/healthz", _healthz, methods=["GET"])
        for path, method, answer in (
            ("/start", "POST", self._start),
            ("/stop", "POST", self._stop),
            ("/state", "GET", self._state),
            ("/artifacts/{name}", "GET", self._artifact),
            ("/logs", "GET", self._logs),
        ):
            app.add_api_route(path, self._signed(answer), methods=[method], response_model=None)
        return app

    def _signed(
        self, answer: Callable[[SignedRequest], Awaitable[Answer]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A route that verifies the signature before it calls ``answer``."""

        async def route(request: Request) -> Response:
            body = await _read_body(request)
            if body is None:
                return Response("the body is too large\n", 413)
            target = _target(request)
            try:
                nonce = verify_request(
                    self.key,
                    request.headers.get(AUTH_HEADER),
                    request.method,
                    target,
                    body,
                    self.nonces,
                )
            except RequestRejected as error:
                return Response(f"{error}\n", 401)
            try:
                reply = await answer(SignedRequest(nonce, body, request))
            except BadRequest as error:
                reply = _message(400, str(error))
            signature = answer_signature(self.key, nonce, reply.status, reply.body)
            headers = {**reply.headers, SIGNATURE_HEADER: signature}
            return Response(reply.body, reply.status, headers, reply.media_type)

        return route

    async def _start(self, signed: SignedRequest) -> Answer:
        start, spec, spent = parse_start(signed.body)
        try:
            self.steps.start(start, spec, spent)
        except StartRefused as error:
            return _message(409, str(error))
        return Answer(202, self.board.body)

    async def _stop(self, signed: SignedRequest) -> Answer:
        self.steps.stop(parse_stop_reason(signed.body))
        return Answer(202, self.board.body)

    async def _state(self, signed: SignedRequest) -> Answer:
        known = signed.request.headers.get("If-None-Match")
        seconds = parse_number(signed.request.query_params.get("wait", "0"), MAX_WAIT_SECONDS)
        if not await self.board.wait_for_other(known, seconds):
            return Answer(304, headers={"ETag": self.board.etag})
        return Answer(200, self.board.body, {"ETag": self.board.etag})

    async def _artifact(self, signed: SignedRequest) -> Answer:
        data = self.store.read(signed.request.path_params["name"])
        if data is None:
            return _message(404, "no such artifact")
        return Answer(200, data, media_type="application/octet-stream")

    async def _logs(self, signed: SignedRequest) -> Answer:
        tail = parse_number(
            signed.request.query_params.get("tail", str(MAX_LOG_ANSWER_BYTES)), MAX_LOG_ANSWER_BYTES
        )
        start = self.board.state.id
        text = read_log(self.settings.exchange_out, start, self.redact, int(tail))
        return Answer(200, text.encode(), media_type="text/plain; charset=utf-8")


def parse_start(body: bytes) -> tuple[StartId, dict[str, Any], dict[str, Any] | None]:
    """The start, its spec, and the model usage of its run so far. Raises BadRequest."""
    raw = _object(body)
    numbers = [raw.get(name) for name in ("run", "attempt", "start")]
    if not all(type(number) is int and 1 <= number < 2**31 for number in numbers):
        raise BadRequest("run, attempt and start must be whole numbers from 1")
    spec = raw.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("prompt"), str):
        raise BadRequest("spec must be the AgentTask's spec, with a prompt")
    spent = raw.get("usage")
    if spent is not None and not isinstance(spent, dict):
        raise BadRequest("usage must be an object")
    return StartId(*map(int, numbers)), spec, spent  # type: ignore[arg-type]


def parse_stop_reason(body: bytes) -> str:
    reason = _object(body).get("reason")
    if reason not in STOP_REASONS:
        raise BadRequest(f"reason must be one of {', '.join(STOP_REASONS)}")
    return str(reason)


def parse_number(text: str, highest: float) -> float:
    """A whole number from the query, capped at ``highest``."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadRequest("the query holds a value that is not a whole number")
    return min(float(text), highest)


def _object(body: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(raw, dict):
        raise BadRequest("the body is not a JSON object")
    return raw


def _message(status: int, text: str) -> Answer:
    return Answer(status, canonical_json({"message": text}))


async def _healthz() -> Response:
    return Response("ok", media_type="text/plain")


async def _read_body(request: Request) -> bytes | None:
    """The body; None if it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _target(request: Request) -> str:
    """Path and query as the client sent them, not decoded."""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope.get("query_string") or b""
    return bytes(path + b"?" + query if query else path).decode("latin-1")
