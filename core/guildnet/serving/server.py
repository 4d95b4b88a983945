"""A uvicorn server that accepts connections itself: each one is counted before it is read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from guildnet.serving.descriptors import raise_descriptor_limit
from guildnet.serving.limits import Admission, Limits
from guildnet.serving.protocol import BoundedProtocol, plain_answer

log = logging.getLogger(__name__)

_BACKLOG = 256
_ACCEPTS_AT_ONCE = 32
"""Accepted in a row, before other work of the event loop runs."""
_PAUSE_SECONDS = 1.0
_BUSY = plain_answer("503 Service Unavailable", "Too many connections; try again later.\n")


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`. Raises OSError when an address is in use."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with contextlib.ExitStack() as undone:
        listeners = []
        for family, kind, proto, _, address in dict.fromkeys(found):
            listener = undone.enter_context(socket.socket(family, kind, proto))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listeners.append(listener)
        undone.pop_all()
    return listeners


def http_config(
    app: Any,
    *,
    lifespan: bool = False,
    grace_seconds: int = 3,
    certificate: tuple[Path, Path] | None = None,
) -> uvicorn.Config:
    """uvicorn's configuration: no access log, server header or WebSockets.

    `certificate` holds the paths of the PEM certificate and its key.
    """
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # A warning for each malformed request would let strangers fill the log.
        log_level="error",
        lifespan="on" if lifespan else "off",
        ws="none",
        server_header=False,
        # The peer is the connecting address; headers that claim another are ignored.
        proxy_headers=False,
        timeout_graceful_shutdown=grace_seconds,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )


class BoundedServer(uvicorn.Server):
    """Serves listening sockets within `limits`. The caller handles signals."""

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[socket.socket],
        limits: Limits | None = None,
    ) -> None:
        super().__init__(config)
        self._listeners = listeners
        self._limits = limits or Limits()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            for listener in self._listeners:
                listener.close()
            raise RuntimeError("the application failed to start")
        limits = self._limits.within(raise_descriptor_limit())
        acceptor = _Acceptor(self._listeners, limits, self.config.ssl, self._protocol)
        self.servers = [acceptor]  # type: ignore[list-item]  # what shutdown needs of one
        self.started = True

    def _protocol(self, limits: Limits, lost: Callable[[], None]) -> BoundedProtocol:
        return BoundedProtocol(
            self.config, self.server_state, self.lifespan.state, limits=limits, lost=lost
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    app: Any, listeners: Sequence[socket.socket], limits: Limits | None = None
) -> AsyncIterator[None]:
    """Serve an ASGI application for the block, then close the listeners."""
    server = BoundedServer(http_config(app), listeners, limits)
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Accepted:
    """One accepted connection: first the TLS handshake, then HTTP."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.protocol: BoundedProtocol | None = None
        self.connecting: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        return self.protocol is None or self.protocol.waits

    def connected(self, accepted: socket.socket) -> None:
        """The handshake is over. Without a transport, the socket must be closed here."""
        self.connecting = None
        if self.protocol is None or self.protocol.transport is None:
            accepted.close()

    def abort(self) -> None:
        if self.connecting is not None:
            self.connecting.cancel()
        if self.protocol is not None and self.protocol.transport is not None:
            self.protocol.abort()


class _Acceptor:
    """Accepts connections within the limits; has `close` and `wait_closed` as asyncio's servers."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        limits: Limits,
        tls: ssl.SSLContext | None,
        protocol: Callable[[Limits, Callable[[], None]], BoundedProtocol],
    ) -> None:
        self.sockets = listeners
        self._limits = limits
        self._tls = tls
        self._protocol = protocol
        self._admission: Admission[_Accepted] = Admission(limits)
        self._loop = asyncio.get_running_loop()
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        for listener in listeners:
            listener.setblocking(False)
            self._resume(listener)

    def close(self) -> None:
        for listener in self.sockets:
            if listener in self._paused:
                self._paused.pop(listener).cancel()
            elif listener.fileno() >= 0:
                self._loop.remove_reader(listener)
            listener.close()
        for connection in list(self._admission):
            if connection.connecting is not None:
                connection.abort()

    async def wait_closed(self) -> None:
        """Return at once: `close` has done everything."""

    # --- accepting ------------------------------------------------------------------------------

    def _resume(self, listener: socket.socket) -> None:
        self._paused.pop(listener, None)
        self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                accepted, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors or memory, for now
                log.error("no connection can be accepted for a second: %s", error)
                self._loop.remove_reader(listener)
                self._paused[listener] = self._loop.call_later(
                    _PAUSE_SECONDS, self._resume, listener
                )
                return
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        try:
            peer = self._limits.peer(accepted.getpeername()[0], accepted.getsockname()[0])
        except OSError:  # gone already
            accepted.close()
            return
        may_enter, victim = self._admission.make_room(peer)
        if victim is not None:
            self._admission.remove(victim)
            victim.abort()
        if not may_enter:
            self._turn_away(accepted)
            return
        connection = _Accepted(peer)
        self._admission.add(connection)
        connecting = self._loop.create_task(self._connect(connection, accepted))
        connecting.add_done_callback(lambda _: connection.connected(accepted))
        connection.connecting = connecting

    def _turn_away(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            if self._tls is None:
                accepted.send(_BUSY)

    async def _connect(self, connection: _Accepted, accepted: socket.socket) -> None:
        def made() -> BoundedProtocol:
            connection.protocol = self._protocol(self._limits, lost)
            return connection.protocol

        def lost() -> None:
            self._admission.remove(connection)

        seconds = self._limits.head_seconds if self._tls else None
        try:
            await self._loop.connect_accepted_socket(
                made,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except (OSError, asyncio.CancelledError):
            # No handshake, or not in time: HTTP never started, so nothing else reports the end.
            lost()
