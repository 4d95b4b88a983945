"""Sends requests to a forge's JSON API: bounded, without redirects, errors mapped and redacted.

Paths and shapes of JSON are in the module of each forge.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from guildnet import backoff
from guildnet.errors import ConfigurationError, ForgeRefused, ForgeUnavailable
from guildnet.forges.answers import refusal_message
from guildnet.http_exchange import AnswerTooLarge, read_bounded, trust
from guildnet.redact import Redactor
from guildnet.text import clean_text

#: A page of 50 pull requests with long bodies is below 2 MiB on every known forge.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_MESSAGE_CHARACTERS = 500
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
#: The limit for a whole request, from connecting to the last byte.
_DEADLINE_SECONDS = 60.0
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")

#: Decides from status, headers (in any case) and message whether a refusal is a rate limit.
RateLimitReader = Callable[[int, Mapping[str, str], str], "RateLimit | None"]

Query = Mapping[str, str | int | Sequence[str]]


class UnreadableAnswer(ForgeUnavailable):
    """The answer is not JSON: it is a proxy's page, or the server is not a forge."""


@dataclass(frozen=True)
class RateLimit:
    """A refusal that ends after ``retry_after`` seconds; None if the forge names no time."""

    retry_after: float | None


def no_rate_limit(status: int, headers: Mapping[str, str], message: str) -> RateLimit | None:
    """For a forge that documents only 429 and ``Retry-After``."""
    del status, headers, message
    return None


@dataclass(frozen=True)
class Answer:
    """A successful answer: its status and its JSON, None for an empty body."""

    status: int
    content: Any


class Transport:
    """One forge's API below ``base_url``, with one credential.

    Each request has its own connection: calls are rare.
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
        """``headers`` contain the credential; ``secret`` is masked in every error message.
        ``authorities`` are certificates (PEM) to trust in addition to the system's."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "guildnet", **headers}
        self._redact = Redactor([secret] if secret else [])
        self._rate_limit = rate_limit
        self._authorities = authorities

    async def get(self, path: str, **query: str | int | Sequence[str]) -> Any:
        """Return the JSON at ``path``; a list in the query becomes one parameter per item."""
        return (await self.request("GET", path, query=query)).content

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``body`` and return the JSON of the answer."""
        return (await self.request("POST", path, body=body)).content

    async def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send ``body`` and return the JSON of the answer."""
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
                "the token contains characters that are not allowed in an HTTP header",
                place=place,
                cure="store the token again, without line breaks or other control characters",
            )
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                response, content = await self._exchange(method, path, query, body, place)
        except ForgeUnavailable:
            raise
        except TimeoutError as error:
            raise ForgeUnavailable(
                f"no complete answer within {_DEADLINE_SECONDS:.0f} s",
                place=place,
                cure="check that the forge is running and reachable; the request is retried",
            ) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ConfigurationError) as error:
            raise ForgeRefused(
                self._shown(f"the request cannot be sent: {error}"),
                place=place,
                cure="check the repository's URL and the Secret's ca.crt",
            ) from error
        # There is no common base: httpx, httpcore, h11, ssl and zlib each raise errors of their own
        # for malformed answers, and ValueErrors too.
        except Exception as error:
            raise ForgeUnavailable(
                self._shown(f"no answer: {error or type(error).__name__}"),
                place=place,
                cure="check that the forge is running and reachable; the request is retried",
            ) from error
        return self._checked(response, content, place)

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
            verify=trust(self._authorities),
            follow_redirects=False,
        ) as client:
            request = client.build_request(
                method, self._base_url + path, params=query or None, json=body
            )
            response = await client.send(request, stream=True)
            try:
                return response, await read_bounded(response, MAX_ANSWER_BYTES)
            except AnswerTooLarge as error:
                raise ForgeUnavailable(str(error), place=place) from error
            finally:
                await response.aclose()

    def _checked(self, response: httpx.Response, content: bytes, place: str) -> Answer:
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
        if (status >= 500 and status not in _PERMANENT) or status in (408, 425, 429):
            raise ForgeUnavailable(f"{status}: {message}", place=place, retry_after=wait)
        raise ForgeRefused(
            f"{status}: {message}", place=place, status=status, cure=_CURES.get(status)
        )

    def _shown(self, text: str) -> str:
        line = " ".join(self._redact.message(text).split())
        return clean_text(line, MAX_MESSAGE_CHARACTERS)


#: Server errors that a retry does not change: not implemented, HTTP version not supported.
_PERMANENT = frozenset({501, 505})


_CURES = {
    301: "the repository has moved: use its new URL",
    302: "use the URL of the forge itself instead of one that redirects to it",
    307: "the repository has moved: use its new URL",
    308: "the repository has moved: use its new URL",
    401: "the token is unknown or has expired: store a new one",
    403: "the token lacks a permission: give it write access to repository and pull requests",
    404: "check that the repository exists and that the token can read it",
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, from 0 to an hour; None without one."""
    return backoff.retry_after(headers.get("retry-after"), time.time())


def _json(content: bytes, place: str) -> Any:
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswer(
            "the answer is not JSON",
            place=place,
            cure="check that this is the address of the forge's API and not a proxy's page",
        ) from error
