"""What every HTTP client shares: whom to trust, and answers of bounded size."""

from __future__ import annotations

import ssl
from functools import cache

import httpx

from guildnet.errors import ConfigurationError


class AnswerTooLarge(ValueError):
    """An answer has more bytes than its reader accepts."""


@cache
def trust(authorities: str | None) -> ssl.SSLContext:
    """Trust the system's authorities and the given ones (PEM); cached, because loading them is
    slow.

    Raises ConfigurationError if ``authorities`` are not certificates.
    """
    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                "ca.crt does not contain certificates in PEM form",
                cure="put the authority's certificate into it, as text that begins with "
                "-----BEGIN CERTIFICATE-----",
            ) from error
    return context


async def read_bounded(response: httpx.Response, max_bytes: int) -> bytes:
    """The body of a streamed answer. Raises AnswerTooLarge."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > max_bytes:
            raise AnswerTooLarge(f"the answer has more than {max_bytes} bytes")
    return bytes(content)
