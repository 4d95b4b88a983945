"""How many requests one API server gets at once: more while it answers quickly, otherwise fewer.

Additive increase, multiplicative decrease, as in TCP. Pure: times are passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

_CUT = 0.7
_SLOW_FACTOR = 4.0
_BASELINE_DRIFT = 0.0005


@dataclass(frozen=True, slots=True)
class LimitBounds:
    """The limit stays between `floor`, which lets a recovering server be noticed, and `ceiling`.
    An answer that takes longer than both `slow_seconds` and four times the server's quickest
    answer counts as overload. A distant server is slow without being overloaded."""

    floor: int = 2
    initial: int = 8
    ceiling: int = 32
    slow_seconds: float = 0.2


class AdaptiveLimit:
    """The concurrency limit of one API server."""

    def __init__(self, bounds: LimitBounds | None = None) -> None:
        self._bounds = bounds or LimitBounds()
        self._limit = float(min(self._bounds.initial, self._bounds.ceiling))
        self._baseline: float | None = None
        self._cut_at = float("-inf")
        self._is_probing = True

    @property
    def limit(self) -> int:
        return int(self._limit)

    def answered(self, began: float, now: float, *, was_full: bool, timed: bool = True) -> None:
        """Count an answer. `was_full`: the limit was reached while the request was in flight.
        `timed` False: the duration is not a sign of load, because the answer is a large list."""
        took = now - began
        if timed and self._is_slow(took):
            self.overloaded(began, now)
        elif was_full:
            # The limit doubles each round trip until the first overload, then grows by one.
            step = 1.0 if self._is_probing else 1 / self._limit
            self._limit = min(float(self._bounds.ceiling), self._limit + step)

    def overloaded(self, began: float, now: float) -> None:
        """Count a refusal (429, 503) or a missing answer. A request that started before the last
        cut was sent under the old limit, so it does not cut the limit again."""
        self._is_probing = False
        if began >= self._cut_at:
            self._limit = max(float(self._bounds.floor), self._limit * _CUT)
            self._cut_at = now

    def _is_slow(self, took: float) -> bool:
        if self._baseline is None or took < self._baseline:
            self._baseline = took
        else:
            self._baseline += (took - self._baseline) * _BASELINE_DRIFT
        return took > max(self._bounds.slow_seconds, _SLOW_FACTOR * self._baseline)
