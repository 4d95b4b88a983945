"""Sends a notice to its receiver, never to an address of this machine or of its cloud.

A name is resolved once, its addresses are checked, and the connection goes to a checked address. If
the environment names a proxy, the proxy resolves the name. Redirects are refused: they could lead
anywhere, and the secret with them.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx

from guildnet.addresses import forbidden_scope
from guildnet.backoff import retry_after
from guildnet.errors import ConfigurationError
from guildnet.http_exchange import trust
from guildnet.notify.notices import Notice
from guildnet.notify.receivers import Receiver
from guildnet.notify.requests import NotifyRequest, request_for
from guildnet.proxies import environment_proxy
from guildnet.redact import Redactor
from guildnet.secret_files import read_secret
from guildnet.state_folder import notify_secret_path

SECONDS = 10
T = TypeVar("T")


class NotDelivered(Exception):
    """A notice did not reach its receiver. The text holds no secret; `retry_after` is in
    seconds, where the receiver asks for a pause."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Courier:
    """Delivers the notices of one org, with a thread of its own for what blocks: reading secrets
    and resolving names. Close it at the end."""

    def __init__(self, org: str, state_dir: Path) -> None:
        self._org = org
        self._state_dir = state_dir
        self._thread = ThreadPoolExecutor(1, f"notify-{org}")

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def deliver(self, receiver: Receiver, notice: Notice) -> None:
        """Deliver one notice within SECONDS. Raises NotDelivered."""
        redact = Redactor(())
        try:
            async with asyncio.timeout(SECONDS):
                secret = await self._in_thread(self._secret, receiver)
                redact = Redactor([secret])
                await self._send(request_for(self._org, receiver, notice, secret))
        except TimeoutError as error:
            raise NotDelivered(f"no answer within {SECONDS} s") from error
        except ConfigurationError as error:
            raise NotDelivered(redact.message(str(error))) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            raise NotDelivered(redact.message(str(error)) or type(error).__name__) from error

    def _secret(self, receiver: Receiver) -> str:
        path = notify_secret_path(self._org, receiver.secret, self._state_dir)
        secret = read_secret(path)
        if secret is None:
            raise ConfigurationError(
                f"the secret {receiver.secret!r} is missing",
                cure=f"Store it: guildnet notify secret {self._org} {receiver.secret}",
            )
        return secret

    async def _send(self, request: NotifyRequest) -> None:
        url = httpx.URL(request.url)
        proxy = environment_proxy(request.url)
        addresses = await self._addresses(url, is_literal=proxy is not None)
        client = httpx.AsyncClient(
            verify=trust(None), proxy=proxy, trust_env=False, follow_redirects=False
        )
        async with client:
            answer = await _sent(client, request, url, [url.host] if proxy else addresses)
            try:
                _check_answer(answer)
            finally:
                await answer.aclose()  # its body is never read

    async def _addresses(self, url: httpx.URL, *, is_literal: bool) -> list[str]:
        """The checked addresses of the URL's host. With `is_literal` nothing is resolved: only a
        host that is an address, in any notation that a proxy may accept, is checked."""

        def look_up() -> list[str]:
            flags = socket.AI_NUMERICHOST if is_literal else 0
            found = socket.getaddrinfo(url.host, None, type=socket.SOCK_STREAM, flags=flags)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        try:
            addresses = await self._in_thread(look_up)
        except (OSError, UnicodeError) as error:
            if is_literal:
                return []
            raise NotDelivered(f"{url.host} cannot be resolved: {error}") from error
        for address in addresses:
            scope = forbidden_scope(address)
            if scope is not None:
                raise NotDelivered(f"{url.host} is at {address} ({scope}): nothing is sent there")
        return addresses

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


async def _sent(
    client: httpx.AsyncClient, request: NotifyRequest, url: httpx.URL, addresses: Sequence[str]
) -> httpx.Response:
    """The answer of the proxy, or of the first address that accepts a connection."""
    failure: httpx.TransportError | None = None
    for address in addresses:
        built = client.build_request(
            request.method,
            url.copy_with(host=address),
            content=request.body,
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": "guildnet",
                "Accept-Encoding": "identity",
                **request.headers,
            },
            extensions={"sni_hostname": url.raw_host.decode("ascii").strip("[]")},
        )
        try:
            return await client.send(built, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = error
    assert failure is not None
    raise failure


def _check_answer(answer: httpx.Response) -> None:
    status = answer.status_code
    if 300 <= status < 400:
        raise NotDelivered(f"answered {status}: redirects are not followed, name the final URL")
    if status >= 300:
        asked = retry_after(answer.headers.get("retry-after"), time.time())
        raise NotDelivered(f"answered {status}", asked)
