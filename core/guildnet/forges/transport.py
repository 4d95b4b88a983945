"""Requests to a forge's JSON API: bounded, without redirects, errors mapped, secrets redacted.

What holds for every forge's HTTP belongs here; paths and shapes belong to the forge's module.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from guildnet import backoff
from guildnet.errors import ConfigurationError, ForgeRefused, ForgeUnavailable
from guildnet.forges.answers import refusal_message
from guildnet.redact import Redactor
from guildnet.text import clean_text

#: A page of 50 pull requests with long bodies is below 2 MiB on every forge we know.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_MESSAGE_CHARACTERS = 500
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
#: A whole request, from the connection to the last byte, however slowly the forge sends.
_DEADLINE_SECONDS = 60.0
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")

#: Decides from a refusal's status, headers (any case) and message whether it is a rate limit, and
#: gives the seconds to wait.
RateLimitReader = Callable[[int, Mapping[str, str], str], "RateLimit | None"]

Query = Mapping[str, str | int | Sequence[str]]


class UnreadableAnswer(ForgeUnavailable):
    """An answer that is not JSON: a proxy's page, or not a forge at all."""


@dataclass(frozen=True)
class RateLimit:
    """A refusal that ends by itself; ``retry_after`` seconds from now, None where not said."""

    retry_after: float | None


def no_rate_limit(status: int, headers: Mapping[str, str], message: str) -> RateLimit | None:
    """For a forge that documents none beyond 429 and ``Retry-After``."""
    del status, headers, message
    return None


@dataclass(frozen=True)
class Answer:
    """A successful answer: its status and its JSON, None for an empty body."""

    status: int
    content: Any


class Transport:
    """One forge's API below ``base_url``, with one credential.

    A connection lives as long as one request: calls are few and far between.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        secret: str | None,
        rate_limit: RateLimitReader,
        authorities: str | None = None,
    ) -> None:
        """``headers`` carry the credential; ``secret`` is masked in every error text.
        ``authorities`` are certificates (PEM) that are trusted beside the system's."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "guildnet", **headers}
        self._redact = Redactor([secret] if secret else [])
        self._rate_limit = rate_limit
        self._authorities = authorities

    async def get(self, path: str, **query: str | int | Sequence[str]) -> Any:
        """The JSON at ``path``; a query value that is a list is sent once for each of its items."""
        return (await self.request("GET", path, query=query)).content

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answered to ``body``."""
        return (await self.request("POST", path, body=body)).content

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answered to ``body``."""
        return (await self.request("PUT", path, body=body)).content

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send one request. Raises ForgeUnavailable or ForgeRefused, nothing else."""
        place = self._shown(f"{method} {self._base_url}{path}")
        if not all(map(_HEADER_VALUE.fullmatch, self._headers.values())):
            raise ForgeRefused(
                "the token holds characters that no HTTP header can carry",
                place=place,
                cure="store the token again, without line breaks and spaces around it",
            )
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                response, content = await self._exchange(method, path, query, body, place)
        except ForgeUnavailable:
            raise
        except TimeoutError as error:
            raise ForgeUnavailable(
                f"no whole answer within {_DEADLINE_SECONDS:.0f} s",
                place=place,
                cure="check that the forge is up and reachable from here; it is tried again",
            ) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ConfigurationError) as error:
            raise ForgeRefused(
                self._shown(f"the request cannot be sent: {error}"),
                place=place,
                cure="check the repository's URL and the Secret's ca.crt",
            ) from error
        # What a stranger's bytes can make a library raise has no list: httpx, httpcore, h11, ssl
        # and zlib each have trees of their own, and ValueErrors beside them.
        except Exception as error:
            raise ForgeUnavailable(
                self._shown(f"no answer: {error or type(error).__name__}"),
                place=place,
                cure="check that the forge is up and reachable from here; it is tried again",
            ) from error
        return self._judged(response, content, place)

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None,
        place: str,
    ) -> tuple[httpx.Response, bytes]:
        async with httpx.AsyncClient(
            headers=self._headers,
            timeout=_TIMEOUT,
            verify=_trust(self._authorities),
            follow_redirects=False,
        ) as client:
            request = client.build_request(
                method, self._base_url + path, params=query or None, json=body
            )
            response = await client.send(request, stream=True)
            try:
                return response, await _read_bounded(response, place)
            finally:
                await response.aclose()

    def _judged(self, response: httpx.Response, content: bytes, place: str) -> Answer:
        status = response.status_code
        if 200 <= status < 300:
            return Answer(status, _json(content, place))
        message = self._shown(refusal_message(content) or response.reason_phrase or "no reason")
        wait = retry_after(response.headers)
        limit = self._rate_limit(status, response.headers, message)
        if limit is not None:
            raise ForgeUnavailable(
                f"rate limit: {message}",
                place=place,
                retry_after=limit.retry_after if wait is None else wait,
            )
        if (status >= 500 and status not in _NEVER) or status in (408, 425, 429):
            raise ForgeUnavailable(f"{status}: {message}", place=place, retry_after=wait)
        raise ForgeRefused(
            f"{status}: {message}", place=place, status=status, cure=_CURES.get(status)
        )

    def _shown(self, text: str) -> str:
        words = " ".join(self._redact.message(text).split())
        return clean_text(words, MAX_MESSAGE_CHARACTERS)


#: Server errors that do not pass: not implemented, HTTP version not supported.
_NEVER = frozenset({501, 505})


@cache
def _trust(authorities: str | None) -> ssl.SSLContext:
    """The system's authorities and those given; reading them takes a while.

    ConfigurationError for what is not a certificate.
    """
    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                "ca.crt does not hold certificates in PEM form",
                cure="put the authority's certificate into it as text that begins with "
                "-----BEGIN CERTIFICATE-----",
            ) from error
    return context


_CURES = {
    301: "the repository has moved: write its new address",
    302: "write the address of the forge itself, not one that redirects to it",
    307: "the repository has moved: write its new address",
    308: "the repository has moved: write its new address",
    401: "the token is unknown or has expired: store a new one",
    403: "the token may not do this: give it write access to the repository and its pull requests",
    404: "see that the repository exists and that the token may read it",
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, from 0 to an hour; None without one."""
    return backoff.retry_after(headers.get("retry-after"), time.time())


async def _read_bounded(response: httpx.Response, place: str) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise ForgeUnavailable(f"an answer of more than {MAX_ANSWER_BYTES} bytes", place=place)
    return bytes(content)


def _json(content: bytes, place: str) -> Any:
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswer(
            "an answer that is not JSON",
            place=place,
            cure="see that this address is the forge's API and not a proxy's page",
        ) from error
