"""Which waiting request an API server gets next. Pure: the clock is passed in.

Each flow (an org) has a small credit that refills with time. Flows with credit are served before
flows that have used theirs up, so a change of a few requests overtakes a first sync of thousands.
Flows with credit take turns, and so do those without. One turn in `BULK_EVERY` goes to a flow
without credit, so that none starves.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

CREDIT = 16.0
"""Requests that an idle flow may make with priority; a pass over one task makes about five."""
REFILL_PER_SECOND = 4.0
BULK_EVERY = 4


@dataclass(slots=True)
class _Flow(Generic[T]):
    credit: float = CREDIT
    updated: float = 0.0
    waiting: deque[T] = field(default_factory=deque)

    def refill(self, now: float) -> None:
        earned = max(0.0, now - self.updated) * REFILL_PER_SECOND
        self.credit, self.updated = min(CREDIT, self.credit + earned), now


class FairQueue(Generic[T]):
    """A queue of items by flow. `push` and `pop` are O(1)."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[T]] = {}
        self._quiet: OrderedDict[str, None] = OrderedDict()
        self._bulk: OrderedDict[str, None] = OrderedDict()
        self._turns = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, flow: str, item: T, now: float) -> None:
        state = self._flow(flow, now)
        state.waiting.append(item)
        self._size += 1
        if len(state.waiting) == 1:
            self._enqueue(flow, state)

    def pop(self, now: float) -> T:
        """The next item; IndexError if the queue is empty."""
        chosen = self._choose()
        flow, _ = chosen.popitem(last=False)
        state = self._flow(flow, now)
        item = state.waiting.popleft()
        self._size -= 1
        state.credit = max(0.0, state.credit - 1)
        if state.waiting:
            self._enqueue(flow, state)
        return item

    def charge(self, flow: str, now: float) -> None:
        """Count a request that started without waiting in the queue."""
        state = self._flow(flow, now)
        state.credit = max(0.0, state.credit - 1)

    def discard(self, flow: str, item: T) -> None:
        """Remove an item; do nothing if it is not in the queue."""
        state = self._flows.get(flow)
        if state is None or item not in state.waiting:
            return
        state.waiting.remove(item)
        self._size -= 1
        if not state.waiting:
            self._quiet.pop(flow, None)
            self._bulk.pop(flow, None)

    def drain(self) -> list[T]:
        """Remove and return all items."""
        items = [item for state in self._flows.values() for item in state.waiting]
        for state in self._flows.values():
            state.waiting.clear()
        self._quiet.clear()
        self._bulk.clear()
        self._size = 0
        return items

    def _choose(self) -> OrderedDict[str, None]:
        if not self._size:
            raise IndexError("the queue is empty")
        if self._quiet and self._bulk:
            self._turns += 1
            return self._bulk if self._turns % BULK_EVERY == 0 else self._quiet
        return self._quiet or self._bulk

    def _enqueue(self, flow: str, state: _Flow[T]) -> None:
        (self._quiet if state.credit >= 1 else self._bulk)[flow] = None

    def _flow(self, flow: str, now: float) -> _Flow[T]:
        state = self._flows.get(flow)
        if state is None:
            self._flows[flow] = state = _Flow(updated=now)
            if len(self._flows) % 256 == 0:
                self._forget_idle(flow, now)
        state.refill(now)
        return state

    def _forget_idle(self, kept: str, now: float) -> None:
        """Drop flows that wait for nothing and have full credit: a new flow starts equal."""
        for name, state in list(self._flows.items()):
            state.refill(now)
            if name != kept and not state.waiting and state.credit >= CREDIT:
                del self._flows[name]
