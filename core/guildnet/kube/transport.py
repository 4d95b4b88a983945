"""HTTP requests to one API server, with deadlines, size limits and mapped errors.

Bodies stay bytes here, because converting them to the library's models would halve the rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import aiohttp

from guildnet.errors import GuildNetError, KubeError, KubeUnavailable
from guildnet.kube.api_errors import (
    error_of,
    late_ourselves,
    no_answer,
    not_understood,
    retry_after_of,
)
from guildnet.kube.fence import Fence, fenced_timeout
from guildnet.kube.link import Link
from guildnet.kube.pacing import Gates, ServerSilent, Turn
from guildnet.loop_lag import LoopLag

if TYPE_CHECKING:
    from guildnet.kube.kubeconfig import Connection

RequestHook = Callable[[str, int], None]
"""Called after every request with its verb (get, list, watch, apply, ...) and HTTP status (0: no
answer)."""

DEFAULT_TIMEOUT = timedelta(seconds=30)
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_REFUSALS = 5
"""How often a request that the server refused with 429 is sent again."""
REFUSALS = (429, 503, 504)
SILENCE = ("Timeout", "Unreachable")
_CONNECT_SECONDS = 5.0
_NOTABLE_LATENESS = 0.25
"""If our event loop was late by more than this share of a request's time-out, we caused the
time-out."""
# OSError includes the errors of ssl, and TimeoutError.
NO_ANSWER = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` is encoded and may have a query; `what` names the object in errors.
    `timeout` starts when the request is sent; `fence` must be held then."""

    verb: str
    method: str
    path: str
    what: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: timedelta = DEFAULT_TIMEOUT
    max_bytes: int = MAX_ANSWER_BYTES
    fence: Fence | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `headers` is case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Pace:
    """How requests are paced: for which `flow` (an org), through which gates, and how late our own
    event loop is while they wait for an answer."""

    gates: Gates
    loop_lag: LoopLag
    flow: str


class Transport:
    """Sends the requests of one client and its fenced views. Without `pace` every request starts at
    once."""

    def __init__(
        self,
        connection: Connection,
        on_request: RequestHook | None,
        *,
        link: Link | None = None,
        pace: Pace | None = None,
    ) -> None:
        """`link` may be shared with other transports of the same server and credential."""
        self.place = connection.place
        self.credential_ends = connection.ends
        self.redact = connection.redact
        self._redact = connection.redact.message
        self._link = (link or Link(connection)).hold()
        self._is_open = True
        self._on_request = on_request
        self._pace = pace

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._link.server

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            await self._link.release()

    async def send(self, request: Request) -> Answer:
        """Send a request and return the answer, whatever its status. Raises KubeUnavailable if no
        answer arrives, and KubeError with reason TooLarge if it is too large. A request refused
        with 429 was not executed, so it is sent again after the wait that the server asks for."""
        answer = await self._in_turn(request)
        for _ in range(MAX_REFUSALS if self._pace else 0):
            if answer.status != 429:
                break
            answer = await self._in_turn(request)
        return answer

    async def call(self, request: Request) -> bytes:
        """Send a request and return the body; any status from 300 on is raised as a Kube error."""
        answer = await self.send(request)
        if answer.status >= 300:
            where = where_of(self.place, request)
            raise error_of(answer.status, answer.headers, answer.body, where, self._redact)
        return answer.body

    async def stream(self, request: Request, idle_timeout: timedelta) -> AsyncIterator[bytes]:
        """Stream the body in chunks until the server ends it. Raises KubeUnavailable if nothing
        arrives for `idle_timeout`. The first chunk is empty: the server has accepted the request.
        The request's own timeout applies only until then."""
        timeout = _timeouts(None, idle_timeout, is_proxied=self._link.proxy is not None)
        status, was_silent = 0, False
        turn = await self._enter(request)
        try:
            async with await self._open_stream(request, timeout) as response:
                status = response.status
                self._leave(turn, status, response.headers, timed=False)
                turn = None
                if status >= 300:
                    body = await _read_bounded(response, request, self.place)
                    where = where_of(self.place, request)
                    raise error_of(status, response.headers, body, where, self._redact)
                yield b""
                async for chunk in response.content.iter_any():
                    yield chunk
        except NO_ANSWER as error:
            failure = self._no_answer(request, error, idle_timeout)
            was_silent = failure.reason in SILENCE
            raise failure from error
        except GuildNetError:
            raise
        except Exception as error:
            raise not_understood(error, where_of(self.place, request)) from error
        finally:
            self._give_up(turn, was_silent=was_silent)
            self._count(request, status)

    async def _open_stream(
        self, request: Request, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a stream's request and return the answer with its body unread, within the request's
        timeout."""
        async with asyncio.timeout(request.timeout.total_seconds()):
            return await self._link.open(request, timeout)

    # --- one request ------------------------------------------------------------------------

    async def _in_turn(self, request: Request) -> Answer:
        fenced_timeout(request.fence, request.timeout, where_of(self.place, request))
        turn = await self._enter(request)
        try:
            answer = await self._once(request)
        except BaseException as error:
            was_silent = isinstance(error, KubeUnavailable) and error.reason in SILENCE
            self._give_up(turn, was_silent=was_silent)
            raise
        self._leave(turn, answer.status, answer.headers, timed=request.verb != "list")
        return answer

    async def _once(self, request: Request) -> Answer:
        status = 0
        timeout = fenced_timeout(request.fence, request.timeout, where_of(self.place, request))
        try:
            timeouts = _timeouts(timeout, None, is_proxied=self._link.proxy is not None)
            async with await self._link.open(request, timeouts) as response:
                status = response.status
                body = await _read_bounded(response, request, self.place)
                return Answer(status, response.headers, body)
        except NO_ANSWER as error:
            raise self._no_answer(request, error, timeout) from error
        except GuildNetError:
            raise
        except Exception as error:
            raise not_understood(error, where_of(self.place, request)) from error
        finally:
            self._count(request, status)

    def _no_answer(self, request: Request, error: BaseException, limit: timedelta) -> KubeError:
        where, seconds = where_of(self.place, request), limit.total_seconds()
        if self._pace is not None and isinstance(error, TimeoutError):
            late = self._pace.loop_lag.within(seconds)
            if late >= seconds * _NOTABLE_LATENESS:
                return late_ourselves(late, seconds, where)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            seconds = min(seconds, _CONNECT_SECONDS)
        return no_answer(error, where, seconds, self._redact, proxy=self._link.proxy)

    def _count(self, request: Request, status: int) -> None:
        if self._on_request is not None:
            self._on_request(request.verb, status)

    # --- waiting for a turn -----------------------------------------------------------------

    async def _enter(self, request: Request) -> Turn | None:
        if self._pace is None:
            return None
        try:
            return await self._pace.gates.enter(self._link.server, self._pace.flow)
        except ServerSilent as error:
            where = where_of(self.place, request)
            proxy = self._link.proxy
            raise no_answer(TimeoutError(), where, error.seconds, proxy=proxy) from error

    def _leave(
        self, turn: Turn | None, status: int, headers: Mapping[str, str], *, timed: bool
    ) -> None:
        if self._pace is None or turn is None:
            return
        if status in REFUSALS:
            self._pace.gates.refused(turn, retry_after_of(headers) if status == 429 else 0.0)
        else:
            self._pace.gates.answered(turn, timed=timed)

    def _give_up(self, turn: Turn | None, *, was_silent: bool) -> None:
        if self._pace is None or turn is None:
            return
        if was_silent:
            self._pace.gates.unanswered(turn)
        else:
            self._pace.gates.abandoned(turn)


def where_of(place: str, request: Request) -> str:
    """The cluster, verb and object of a request, for errors."""
    return f"{place}: {request.verb} {request.what}"


@lru_cache(maxsize=64)
def _timeouts(
    total: timedelta | None, idle: timedelta | None, *, is_proxied: bool
) -> aiohttp.ClientTimeout:
    """Proxies accept at once and reach the server afterwards, which only `connect` limits."""
    return aiohttp.ClientTimeout(
        total=total.total_seconds() if total else None,
        connect=_CONNECT_SECONDS if is_proxied else None,
        sock_connect=_CONNECT_SECONDS,
        sock_read=idle.total_seconds() if idle else None,
    )


async def _read_bounded(response: aiohttp.ClientResponse, request: Request, place: str) -> bytes:
    parts: list[bytes] = []
    total = 0
    async for chunk in response.content.iter_any():
        total += len(chunk)
        if total > request.max_bytes:
            response.close()
            message = f"the answer is larger than {request.max_bytes} bytes"
            where = where_of(place, request)
            raise KubeError(message, place=where, status=response.status, reason="TooLarge")
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)
