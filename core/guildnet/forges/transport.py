"""Requests to a forge's JSON API: bounded, without redirects, errors mapped, secrets redacted.

What holds for every forge's HTTP belongs here; paths and shapes belong to the forge's module.
"""

from __future__ import annotations

import json
import math
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx

from guildnet.errors import ForgeRefused, ForgeUnavailable
from guildnet.forges.answers import refusal_message
from guildnet.redact import Redactor

#: A page of 50 pull requests with long bodies is below 2 MiB on every forge we know.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_MESSAGE_CHARACTERS = 500
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
#: A request that a slow sender keeps alive ends here all the same.
_DEADLINE_SECONDS = 60.0

#: Tells from a refusal's status, headers (any case) and message that it is a rate limit, and the
#: seconds to wait.
RateLimitReader = Callable[[int, Mapping[str, str], str], "RateLimit | None"]

Query = Mapping[str, str | int | Sequence[str]]


class UnreadableAnswer(ForgeUnavailable):
    """An answer that is no JSON: a proxy's page, or not a forge at all."""


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
    ) -> None:
        """``headers`` carry the credential; ``secret`` is masked in every error text."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "guildnet", **headers}
        self._redact = Redactor([secret] if secret else [])
        self._rate_limit = rate_limit

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
        place = f"{method} {self._base_url}{path}"
        try:
            async with httpx.AsyncClient(
                headers=self._headers, timeout=_TIMEOUT, verify=_trust(), follow_redirects=False
            ) as client:
                request = client.build_request(
                    method, self._base_url + path, params=query or None, json=body
                )
                response = await client.send(request, stream=True)
                try:
                    content = await _read_bounded(response, place)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ForgeUnavailable(
                self._shown(f"no answer: {error or type(error).__name__}"),
                place=place,
                cure="see that the forge is up and reachable from here; it is tried again",
            ) from error
        return self._judged(response, content, place)

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
        return " ".join(self._redact(text).split())[:MAX_MESSAGE_CHARACTERS]


#: Server errors that do not pass: not implemented, HTTP version not supported.
_NEVER = frozenset({501, 505})


@cache
def _trust() -> ssl.SSLContext:
    """The system's authorities, a company's own included; reading them takes a while."""
    return ssl.create_default_context()


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
    """Seconds that a ``Retry-After`` header (seconds or a date) asks for, at most an hour."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), 3600.0)


async def _read_bounded(response: httpx.Response, place: str) -> bytes:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise ForgeUnavailable(f"an answer of more than {MAX_ANSWER_BYTES} bytes", place=place)
        if time.monotonic() > deadline:
            raise ForgeUnavailable(
                f"an answer that takes more than {_DEADLINE_SECONDS:.0f} s", place=place
            )
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
