"""Connections to an API server through a SOCKS5 proxy, such as that of a userspace tailscaled.

aiohttp speaks HTTP proxies only. aiohttp-socks would add SOCKS, but it verifies the server's
certificate for the name that it dials and ignores the kubeconfig's tls-server-name; so only the
handshake is a library's (python-socks), and TLS stays aiohttp's.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
from python_socks.async_.asyncio import Proxy

_DEFAULT_PORT = 1080


class SocksConnector(aiohttp.TCPConnector):
    """Opens each connection through the SOCKS5 proxy at `proxy`, a URL that `checked_proxy` has
    accepted. Raises aiohttp's errors."""

    def __init__(self, proxy: str, **options: Any) -> None:
        super().__init__(resolver=_ByProxy(), **options)
        parts = urlsplit(proxy)
        self._proxy = Proxy(
            ProxyType.SOCKS5,
            host=parts.hostname or "",
            port=parts.port or _DEFAULT_PORT,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            rdns=True,
        )

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: list[Any],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,
        **kwargs: Any,
    ) -> Any:
        """Overrides the connector's step from address to connection; aiohttp has no public one."""
        host, port = addr_infos[0][4][:2]
        connected = await self._connected(host, port, timeout)
        try:
            return await self._wrap_existing_connection(
                *args, req=req, timeout=timeout, sock=connected, **kwargs
            )
        except BaseException:
            connected.close()
            raise

    async def _connected(
        self, host: str, port: int, timeout: aiohttp.ClientTimeout
    ) -> socket.socket:
        try:
            return await self._proxy.connect(host, port, timeout=timeout.sock_connect)
        except ProxyTimeoutError as error:
            raise TimeoutError from error
        except ProxyConnectionError as error:
            raise aiohttp.ClientConnectionError(str(error)) from error
        except ProxyError as error:
            raise aiohttp.ClientConnectionError(f"the proxy refused: {error}") from error


class _ByProxy(AbstractResolver):
    """Leaves names to the proxy: only it knows those of its network."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass
