"""Bound the requests in flight, for each API server and in total, and share them fairly by org.

A request waits here before its time-out starts, so that waiting for a turn is never mistaken for a
server that does not answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from guildnet.kube.adaptive_limit import AdaptiveLimit, LimitBounds
from guildnet.kube.fairness import FairQueue

MAX_PAUSE_SECONDS = 30.0
"""The longest `Retry-After` that is honoured; a longer one is cut to this."""
DEFAULT_PAUSE_SECONDS = 1.0


class ServerSilent(Exception):
    """The request was not sent, because the server has stopped answering."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer for {seconds:.0f} s")
        self.seconds = seconds


@dataclass(slots=True)
class Turn:
    """One request in flight. The caller must end it with exactly one of `Gates.answered`,
    `refused`, `unanswered` and `abandoned`."""

    gate: Gate
    began: float
    was_full: bool


class Gate:
    """The state of one API server: its limit, the requests waiting for it, whether it answers."""

    def __init__(self, bounds: LimitBounds, clock: Callable[[], float]) -> None:
        self.limit = AdaptiveLimit(bounds)
        self.in_flight = 0
        self.waiting: FairQueue[asyncio.Future[Turn]] = FairQueue()
        self.paused_until = 0.0
        self._clock = clock
        self._last_answer = clock()
        self.is_silent = False
        """Whether the server answered nothing during a whole request."""

    @property
    def silence_seconds(self) -> float:
        """Seconds since the last answer."""
        return self._clock() - self._last_answer

    @property
    def has_room(self) -> bool:
        """Whether one more request may start; a silent server gets one request at a time."""
        limit = 1 if self.is_silent else self.limit.limit
        return self.in_flight < limit and self._clock() >= self.paused_until

    def start(self) -> Turn:
        self.in_flight += 1
        return Turn(self, self._clock(), self.in_flight >= self.limit.limit)

    def answered(self, turn: Turn, *, timed: bool) -> None:
        self._mark_answered()
        was_full = turn.was_full or self.in_flight >= self.limit.limit
        self.limit.answered(turn.began, self._clock(), was_full=was_full, timed=timed)

    def refused(self, turn: Turn, retry_after: float | None) -> None:
        """The server refused as overloaded: pause all its requests for as long as it asks."""
        self._mark_answered()
        now = self._clock()
        self.limit.overloaded(turn.began, now)
        wanted = DEFAULT_PAUSE_SECONDS if retry_after is None else retry_after
        pause = 0.0 if math.isnan(wanted) else min(max(0.0, wanted), MAX_PAUSE_SECONDS)
        self.paused_until = max(self.paused_until, now + pause)

    def unanswered(self, turn: Turn) -> None:
        """The request timed out. If no other request was answered meanwhile, all waiting requests
        fail too; timing out one after the other, they would wait for hours."""
        self.limit.overloaded(turn.began, self._clock())
        if self._last_answer <= turn.began:
            self.is_silent = True
            for waiter in self.waiting.drain():
                if not waiter.done():
                    waiter.set_exception(ServerSilent(self.silence_seconds))

    def _mark_answered(self) -> None:
        self._last_answer, self.is_silent = self._clock(), False


class Gates:
    """The gates of one event loop, by server, and the total bound.

    A server with no request in flight may always start one, because servers that hang can use up
    the total and must not block the others.
    """

    def __init__(self, *, total: int = 256, bounds: LimitBounds | None = None) -> None:
        self.in_flight = 0
        self._total = total
        self._bounds = bounds or LimitBounds()
        self._gates: dict[str, Gate] = {}
        self._waiting: dict[str, Gate] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait for a turn."""
        return sum(len(gate.waiting) for gate in self._waiting.values())

    def of(self, server: str) -> Gate:
        gate = self._gates.get(server)
        if gate is None:
            clock = asyncio.get_running_loop().time
            gate = self._gates[server] = Gate(self._bounds, clock)
        return gate

    async def enter(self, server: str, flow: str) -> Turn:
        """Wait until a request of `flow` may go to `server`. Raises ServerSilent if the server has
        stopped answering, or does so during the wait."""
        loop, gate = asyncio.get_running_loop(), self.of(server)
        if not gate.waiting and self._may_start(gate):
            gate.waiting.charge(flow, loop.time())
            return self._start(gate)
        if gate.is_silent:
            raise ServerSilent(gate.silence_seconds)
        waiter: asyncio.Future[Turn] = loop.create_future()
        gate.waiting.push(flow, waiter, loop.time())
        self._waiting[server] = gate
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.abandoned(waiter.result())
            else:
                gate.waiting.discard(flow, waiter)
            raise

    # --- how a turn ends --------------------------------------------------------------------

    def answered(self, turn: Turn, *, timed: bool = True) -> None:
        """The server answered. `timed` False: the duration is not a sign of load, because the
        answer is a large list."""
        turn.gate.answered(turn, timed=timed)
        self._end(turn)

    def refused(self, turn: Turn, retry_after: float | None) -> None:
        """The server refused the request as overloaded, without executing it."""
        turn.gate.refused(turn, retry_after)
        self._end(turn)

    def unanswered(self, turn: Turn) -> None:
        """The request got no answer."""
        turn.gate.unanswered(turn)
        self._end(turn)

    def abandoned(self, turn: Turn) -> None:
        """The caller gave up, or this process was at fault; the server's state stays unchanged."""
        self._end(turn)

    def _end(self, turn: Turn) -> None:
        turn.gate.in_flight -= 1
        self.in_flight -= 1
        self._serve()

    # --- which request starts next ----------------------------------------------------------

    def _may_start(self, gate: Gate) -> bool:
        return gate.has_room and (self.in_flight < self._total or gate.in_flight == 0)

    def _start(self, gate: Gate) -> Turn:
        self.in_flight += 1
        return gate.start()

    def _serve(self) -> None:
        """Start all waiting requests that may start, taking turns between servers."""
        if not self._waiting:
            return
        progress = True
        while progress:
            progress = False
            for server, gate in list(self._waiting.items()):
                if not gate.waiting:
                    del self._waiting[server]
                elif self._may_start(gate):
                    waiter = gate.waiting.pop(asyncio.get_running_loop().time())
                    if not waiter.done():
                        waiter.set_result(self._start(gate))
                    # Move the server to the end, so that servers share the total.
                    self._waiting[server] = self._waiting.pop(server)
                    progress = True
        self._wake_after_pause()

    def _wake_after_pause(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        pauses = [g.paused_until for g in self._waiting.values() if g.paused_until > now]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if pauses:
            self._timer = loop.call_at(min(pauses) + 0.001, self._serve)
