"""Requests to the provider: its key added, no redirects, no proxies, bounded connections."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from guildnet_agent.supervisor.model_gateway.protocols import Protocol

MAX_CONNECTIONS = 16
_KEEPALIVE_SECONDS = 4.0  # servers close idle connections after 5 s or more
#: A model may think for minutes before its first byte.
_TIMEOUT = httpx.Timeout(connect=10.0, write=60.0, read=600.0, pool=60.0)

#: Everything else of the client stays here: cookies, forwarding headers, hop-by-hop headers.
_PASSED = frozenset(
    {
        "accept",
        "content-type",
        "user-agent",
        "anthropic-version",
        "anthropic-beta",
        "openai-beta",
        "x-goog-api-client",
    }
)
_PASSED_BACK = frozenset(
    {
        "content-type",
        "retry-after",
        "request-id",
        "x-request-id",
        "x-should-retry",
        "anthropic-request-id",
    }
)
_PASSED_BACK_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-")
MAX_HEADER_CHARACTERS = 1024


class UpstreamFailed(Exception):
    """The provider gave no answer that can be passed on; the message says why."""


@dataclass(frozen=True)
class UpstreamAnswer:
    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


class Upstream:
    """The provider's side. `close` it in the end."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._made: httpx.AsyncHTTPTransport | None = None
        self._authorities: str | None = None
        self._replaced: list[httpx.AsyncHTTPTransport] = []

    def trust(self, authorities: str | None) -> None:
        """From now on, trust certificates (PEM) beside those of the system."""
        if authorities == self._authorities:
            return
        self._authorities = authorities
        if self._made is not None:
            self._replaced.append(self._made)
            self._made = None

    @property
    def _transport(self) -> httpx.AsyncHTTPTransport:
        """Made when it is first needed: most tasks of one's own use no model, and reading the
        system's authorities takes a while."""
        if self._made is None:
            limits = httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=_KEEPALIVE_SECONDS,
            )
            context = self._context or ssl.create_default_context()
            if self._authorities:
                context.load_verify_locations(cadata=self._authorities)
            self._made = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
        return self._made

    @asynccontextmanager
    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[UpstreamAnswer]:
        """The answer, its body not yet read. UpstreamFailed.

        Leaving the context closes the connection where the answer was not read to its end.
        """
        try:
            request = httpx.Request(
                method,
                url,
                headers=dict(headers),
                content=body,
                extensions={"timeout": _TIMEOUT.as_dict()},
            )
            answer = await self._transport.handle_async_request(request)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise UpstreamFailed(f"the model endpoint gave no answer: {_words(error)}") from error
        try:
            encoding = answer.headers.get("content-encoding", "identity").lower()
            if 300 <= answer.status_code < 400:
                raise UpstreamFailed(
                    f"the model endpoint answered with a redirect ({answer.status_code}), which "
                    "is not followed; write the final address as baseURL"
                )
            if encoding != "identity":
                raise UpstreamFailed(
                    "the model endpoint compressed its answer although that was not accepted"
                )
            yield UpstreamAnswer(answer.status_code, _passed_back(answer.headers), _chunks(answer))
        finally:
            await answer.aclose()

    async def close(self) -> None:
        for transport in (*self._replaced, *filter(None, (self._made,))):
            await transport.aclose()


def outgoing_headers(incoming: Mapping[str, str], protocol: Protocol, key: str) -> dict[str, str]:
    """The headers for the provider: those it needs of the client's, and its own credential."""
    name, prefix = protocol.credential
    passed = {
        header: value[:MAX_HEADER_CHARACTERS]
        for header, value in incoming.items()
        if header in _PASSED
    }
    return {**passed, "accept-encoding": "identity", name: prefix + key}


def _passed_back(headers: httpx.Headers) -> dict[str, str]:
    return {
        name: value[:MAX_HEADER_CHARACTERS]
        for name, value in headers.items()
        if name in _PASSED_BACK or name.startswith(_PASSED_BACK_PREFIXES)
    }


async def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    try:
        async for chunk in answer.stream:
            yield chunk
    except httpx.HTTPError as error:
        raise UpstreamFailed(f"the model endpoint's answer broke off: {_words(error)}") from error


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
