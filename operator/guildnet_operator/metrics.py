"""The metrics for Prometheus, in a registry of each operator's own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from guildnet import conditions
from guildnet.units import parse_time
from guildnet_operator.views import Json

_PREFIX = "guildnet_operator"
_SECONDS = (1, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 600)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The operator's metrics; durations are in seconds."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._starts = Counter(
            f"{_PREFIX}_starts_total", "Starts assigned to agents", registry=registry
        )
        self._time_to_ready = Histogram(
            f"{_PREFIX}_time_to_ready_seconds",
            "From admission to a slot, or the loss of an agent, to an agent at work",
            buckets=_SECONDS,
            registry=registry,
        )
        self._outcomes = Counter(
            f"{_PREFIX}_outcomes_total", "Finished runs by result", ["reason"], registry=registry
        )
        for result in conditions.RESULTS:
            self._outcomes.labels(result)
        self._internal_errors = Counter(
            f"{_PREFIX}_internal_errors_total",
            "Unexpected errors, each in the reconciliation of one AgentTask",
            registry=registry,
        )
        self._requests = Counter(
            f"{_PREFIX}_api_requests_total",
            "Requests to the API server except watches (code 0: no answer)",
            ["verb", "code"],
            registry=registry,
        )

    def requested(self, verb: str, status: int) -> None:
        """Count a request; a RequestHook."""
        self._requests.labels(verb, str(status)).inc()

    def internal_error(self) -> None:
        """Count an unexpected error."""
        self._internal_errors.inc()

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(f"{_PREFIX}_{name}", what, registry=self._registry).set_function(value)

    def status_written(self, before: Json, after: Json, now: datetime) -> None:
        """Count what one write of an AgentTask's status shows."""
        triple = _triple(after)
        if triple[2] and triple != _triple(before):
            self._starts.inc()
        for result in results_between(before, after):
            self._outcomes.labels(result).inc()
        if is_ready(after) and not is_ready(before) and after.get("admittedAt"):
            self._time_to_ready.observe((now - parse_time(after["admittedAt"])).total_seconds())

    def exposition(self) -> bytes:
        """The text that answers a scrape."""
        return generate_latest(self._registry)


def is_ready(status: Json) -> bool:
    """Whether its agent is at work."""
    ready = conditions.find(status.get("conditions", ()), conditions.READY)
    return ready is not None and ready.get("reason") == "AgentServing"


def results_between(before: Json, after: Json) -> list[str]:
    """Results of the runs that ended between two statuses."""
    old, new = before.get("run", 0), after.get("run", 0)
    found = []
    if old and old != new and not conditions.is_finished(before, old):
        found += [str(e["result"]) for e in after.get("history", ()) if e.get("run") == old]
    was = conditions.is_finished(before, new)
    if conditions.is_finished(after, new) and not was:
        succeeded = conditions.find(after["conditions"], conditions.SUCCEEDED)
        found += [str(succeeded["reason"])] if succeeded is not None else []
    return found


def _triple(status: Json) -> tuple[int, ...]:
    return tuple(status.get(name, 0) for name in ("run", "attempt", "start"))
