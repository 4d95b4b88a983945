"""HTTP to one API server: bytes in, bytes out, with a deadline, bounded, errors mapped.

Bodies stay bytes here: turning them into the library's models and back would halve the rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from guildnet.errors import KubeError
from guildnet.kube.api_errors import error_of, no_answer

if TYPE_CHECKING:
    from guildnet.kube.kubeconfig import Connection

RequestHook = Callable[[str, int], None]
"""Told of every request: its verb (get, list, watch, apply, ...) and status (0: no answer)."""

DEFAULT_TIMEOUT = timedelta(seconds=30)
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_CONNECT_SECONDS = 5.0
# aiohttp's own errors; OSError holds ssl's, and TimeoutError.
NO_ANSWER = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` is encoded and may carry a query; `what` names its object in errors."""

    verb: str
    method: str
    path: str
    what: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: timedelta = DEFAULT_TIMEOUT
    max_bytes: int = MAX_ANSWER_BYTES


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `headers` by name in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """The connections to one API server; shared by a client and its fenced views."""

    def __init__(self, connection: Connection, on_request: RequestHook | None) -> None:
        self._connection = connection
        self._session: aiohttp.ClientSession | None = None
        self._on_request = on_request

    @property
    def place(self) -> str:
        return self._connection.place

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> Answer:
        """The answer, whatever its status; KubeUnavailable when there is none, KubeError with
        reason TooLarge when it is larger than allowed."""
        status = 0
        try:
            async with await self._open(request, _within(request.timeout)) as response:
                status = response.status
                body = await _read_bounded(response, request, self.place)
                return Answer(status, response.headers, body)
        except NO_ANSWER as error:
            raise self._no_answer(request, error, request.timeout) from error
        finally:
            self._count(request, status)

    async def call(self, request: Request) -> bytes:
        """The body of a successful answer; any other is raised as the error it stands for."""
        answer = await self.send(request)
        if answer.status >= 300:
            where = where_of(self.place, request)
            raise error_of(answer.status, answer.headers, answer.body, where)
        return answer.body

    async def stream(self, request: Request, idle_timeout: timedelta) -> AsyncIterator[bytes]:
        """The body piece by piece until the server ends it; KubeUnavailable when nothing came
        for `idle_timeout`. The first piece is empty and says that the server has taken the
        request, whose own deadline does not apply."""
        timeout = aiohttp.ClientTimeout(
            sock_connect=_CONNECT_SECONDS, sock_read=idle_timeout.total_seconds()
        )
        status = 0
        try:
            async with await self._open(request, timeout) as response:
                status = response.status
                if status >= 300:
                    body = await _read_bounded(response, request, self.place)
                    where = where_of(self.place, request)
                    raise error_of(status, response.headers, body, where)
                yield b""
                async for chunk in response.content.iter_any():
                    yield chunk
        except NO_ANSWER as error:
            raise self._no_answer(request, error, idle_timeout) from error
        finally:
            self._count(request, status)

    def _no_answer(self, request: Request, error: BaseException, limit: timedelta) -> KubeError:
        return no_answer(error, where_of(self.place, request), limit.total_seconds())

    def _count(self, request: Request, status: int) -> None:
        if self._on_request is not None:
            self._on_request(request.verb, status)

    async def _open(
        self, request: Request, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = self._connection.http._create_pool_manager()
        configuration = self._connection.configuration
        headers = {"Accept": "application/json", **request.headers}
        if configuration.api_key:
            # Asked for each time: the token of a pod is replaced while it runs.
            token = await configuration.get_api_key_with_prefix("BearerToken")
            headers["Authorization"] = str(token)
        options: dict[str, Any] = {}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        if configuration.proxy:
            options["proxy"] = configuration.proxy
        return await self._session.request(
            request.method,
            URL(f"{configuration.host}{request.path}", encoded=True),
            data=request.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            **options,
        )


def where_of(place: str, request: Request) -> str:
    """Cluster, verb and object, as errors name them."""
    return f"{place}: {request.verb} {request.what}"


@lru_cache(maxsize=64)
def _within(timeout: timedelta) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeout.total_seconds(), sock_connect=_CONNECT_SECONDS)


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
