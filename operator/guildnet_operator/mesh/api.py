"""Sends requests to a control server's JSON API: bounded, without redirects, errors mapped."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from guildnet.errors import ConfigurationError, MeshError, MeshRefused, MeshUnavailable
from guildnet.http_exchange import read_bounded, trust
from guildnet.redact import Redactor
from guildnet.text import clean_text

#: 10,000 peers in the answer of Headscale have about 10 MiB.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_DEADLINE_SECONDS = 10.0
_TIMEOUT = httpx.Timeout(_DEADLINE_SECONDS, connect=5.0)
_MAX_MESSAGE = 300
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_CURES = {
    401: "the credential is unknown or has expired: store a new one with "
    "`guildnet secret set ORG NAME --use mesh`",
    403: "the credential lacks a permission: see docs/mesh.md for what it needs",
}
_AWAY = "check that the control server is running and that the operator can reach it"


class ControlApi:
    """A control server's API below `base_url`.

    `secrets` are masked in every message; `authorities` are certificates (PEM) to trust besides
    the system's.
    """

    def __init__(self, base_url: str, *, secrets: Sequence[str], authorities: str | None) -> None:
        self._base_url = base_url.rstrip("/")
        self._redact = Redactor(list(secrets))
        self._authorities = authorities

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of the answer, None for an empty one. Raises MeshError, nothing else."""
        place = self._shown(f"{method} {self._base_url}{path}")
        if token is not None and not _HEADER_VALUE.fullmatch(token):
            raise MeshRefused("the credential is not a token", place=place, cure=_CURES[401])
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS), self._client(token) as client:
                url = self._base_url + path
                request = client.build_request(method, url, params=query, json=body, data=form)
                response = await client.send(request, stream=True)
                try:
                    content = await read_bounded(response, MAX_ANSWER_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            why = f"no complete answer within {_DEADLINE_SECONDS:.0f} s"
            raise MeshUnavailable(why, place=place, cure=_AWAY) from error
        except ConfigurationError as error:
            raise MeshRefused(error.message, place=place, cure=error.cure) from error
        # There is no common base: httpx, httpcore, h11, ssl and zlib each raise errors of their
        # own for malformed answers, and ValueErrors too.
        except Exception as error:
            why = self._shown(f"no answer: {error or type(error).__name__}")
            raise MeshUnavailable(why, place=place, cure=_AWAY) from error
        return self._checked(response.status_code, content, place)

    def _client(self, token: str | None) -> httpx.AsyncClient:
        headers = {"Accept": "application/json", "User-Agent": "guildnet"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return httpx.AsyncClient(
            headers=headers,
            timeout=_TIMEOUT,
            verify=trust(self._authorities),
            follow_redirects=False,
        )

    def _checked(self, status: int, content: bytes, place: str) -> Any:
        if 200 <= status < 300:
            try:
                return json.loads(content) if content.strip() else None
            except (ValueError, RecursionError) as error:
                cure = "check that mesh.loginServer is the control server and not a proxy's page"
                raise MeshUnavailable("the answer is not JSON", place=place, cure=cure) from error
        if content.strip() == b"Unauthorized":
            status = 401  # Headscale says 500 to an API key whose prefix it does not know
        message = self._shown(f"{status}: {_reason(content)}")
        if status >= 500 or status in (408, 425, 429):
            raise MeshUnavailable(message, place=place, cure=_AWAY)
        raise MeshRefused(message, place=place, cure=_CURES.get(status), status=status)

    def _shown(self, text: str) -> str:
        return clean_text(" ".join(self._redact.message(text).split()), _MAX_MESSAGE)


def _reason(content: bytes) -> str:
    """What the control server says, in its JSON or as plain text."""
    try:
        found = json.loads(content)["message"]
        return str(found)
    except (ValueError, TypeError, KeyError, RecursionError):
        return content[:200].decode("utf-8", "replace") or "no reason"


def malformed(error: Exception, place: str) -> MeshError:
    """The error for an answer of another shape than documented."""
    text = clean_text(f"the answer has another shape: {type(error).__name__}", _MAX_MESSAGE)
    return MeshUnavailable(text, place=place, cure="check that the control server's version fits")
