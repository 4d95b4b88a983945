"""One HTTP connection with deadlines. uvicorn itself waits forever for heads and bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from guildnet.serving.limits import Limits


def plain_answer(status: str, text: str) -> bytes:
    """A whole answer, after which the connection is closed."""
    head = f"content-type: text/plain; charset=utf-8\r\ncontent-length: {len(text)}\r\n"
    return f"HTTP/1.1 {status}\r\n{head}connection: close\r\n\r\n{text}".encode()


class Phase(Enum):
    """What a connection is doing."""

    HEAD = "waiting for the head of a request"
    BODY = "waiting for the rest of a body"
    ANSWER = "answering"
    CLOSING = "sending what is left"


_TIMED_OUT = plain_answer("408 Request Timeout", "The request did not arrive in time.\n")


class BoundedProtocol(H11Protocol):
    """Disconnects a peer that sends a request, or reads an answer, too slowly."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        limits: Limits,
        lost: Callable[[], None],
    ) -> None:
        """`lost` is called once the connection is closed."""
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._lost = lost
        self._phase: Phase | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether no complete request is in progress."""
        return self._phase is not Phase.ANSWER

    def abort(self) -> None:
        """Close at once and drop unsent data."""
        self.transport.abort()

    # --- what the transport reports -------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._lost()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        self._phase = None  # the next request has its own deadline
        super().on_response_complete()
        self._follow()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._follow()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._limits.stall_seconds, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # --- deadlines ------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Set the deadline of a phase that has just started."""
        phase = self._current_phase()
        if phase is self._phase:
            return
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self._seconds(phase), self._expire)

    def _current_phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.conn.their_state is h11.IDLE:
            return Phase.HEAD
        return Phase.BODY if self.conn.their_state is h11.SEND_BODY else Phase.ANSWER

    def _seconds(self, phase: Phase) -> float:
        if phase is Phase.HEAD:
            return self._limits.head_seconds
        return self._limits.body_seconds if phase is Phase.BODY else self._limits.stall_seconds

    def _expire(self) -> None:
        if self.transport.is_closing():
            self.abort()
        elif self._phase is Phase.ANSWER:
            # An answer has no deadline; an aborted one does.
            self._timer = self.loop.call_later(self._limits.stall_seconds, self._expire)
        else:
            self._time_out()

    def _time_out(self) -> None:
        """Send 408 unless an answer has started, and close."""
        if self._phase is Phase.BODY:
            if self.cycle.response_started:
                self.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_TIMED_OUT)
        self.transport.close()
        self._follow()
