"""The open connections to one API server with one credential."""

from __future__ import annotations

from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from guildnet.proxies import SOCKS
from guildnet.redact import strip_urls

if TYPE_CHECKING:
    from guildnet.kube.kubeconfig import Connection
    from guildnet.kube.transport import Request


# asyncio allocates a buffer of this size for each TLS connection. Its default of 256 KiB would cost
# more than the rest of an idle org. A TLS record is at most 16 KiB.
SSLProtocol.max_size = 64 * 1024
# A watch event can exceed aiohttp's default of 64 KiB; kubernetes.aio uses the same size.
_READ_BUFFER_BYTES = 2 * 1024 * 1024


class Link:
    """An HTTP session that several transports share; the last to release it closes it."""

    def __init__(self, connection: Connection) -> None:
        self._configuration = connection.configuration
        self._http = connection.http
        proxy = connection.configuration.proxy
        self._proxy = str(proxy) if proxy else None
        self._session: aiohttp.ClientSession | None = None
        self._holders = 0

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._configuration.host)

    @property
    def proxy(self) -> str | None:
        """The proxy's URL without credentials; None for direct connections."""
        return strip_urls(self._proxy) if self._proxy else None

    def hold(self) -> Link:
        self._holders += 1
        return self

    @property
    def is_held(self) -> bool:
        """Whether a transport uses it."""
        return self._holders > 0

    async def release(self) -> None:
        """Close the connections if no other transport uses them."""
        self._holders -= 1
        if self._holders > 0:
            return
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        """A session with the library's TLS context and connection limit.

        The library's session factory is private, but these two attributes are public.
        """
        return aiohttp.ClientSession(
            connector=self._connector(),
            # Reading proxy variables and ~/.netrc for each request costs more than the request;
            # the proxy is chosen once, in the configuration.
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
        )

    def _connector(self) -> aiohttp.TCPConnector:
        # Behind a proxy, waiting for a free connection would count as time to connect.
        limit = 0 if self._proxy else self._http.maxsize
        options: dict[str, Any] = {"limit": limit, "ssl": self._http.ssl_context}
        if self._is_socks:
            from guildnet.kube.socks import SocksConnector

            return SocksConnector(str(self._proxy), **options)
        return aiohttp.TCPConnector(**options)

    @property
    def _is_socks(self) -> bool:
        return self._proxy is not None and urlsplit(self._proxy).scheme in SOCKS

    async def open(
        self, request: Request, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Send a request and return the answer with its body unread. Raises aiohttp's errors."""
        if self._session is None:
            self._session = self._new_session()
        configuration = self._configuration
        headers = {"Accept": "application/json", **request.headers}
        if configuration.api_key:
            # Read it for each request: the token of a pod is rotated while it runs.
            token = await configuration.get_api_key_with_prefix("BearerToken")
            headers["Authorization"] = str(token)
        options: dict[str, Any] = {}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        if self._proxy and not self._is_socks:
            options["proxy"] = self._proxy
        return await self._session.request(
            request.method,
            URL(f"{configuration.host}{request.path}", encoded=True),
            data=request.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            **options,
        )
