"""Time to the first byte, and streams, through the model gateway and directly, alternating."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.many_orgs_rows import Row
from benchmarks.model_processes import BATCH, KEY, MODEL

MAX_ADDED_MS = 5.0
MIN_RATIO = 0.95
#: A provider streams about 100 events a second; this is 10 times as fast.
PACED_EVENTS, PACED_PAUSE = 2_000, 0.01
BULK_EVENTS = 20_000


@dataclass(frozen=True)
class GatewayFigures:
    """Medians: (directly, through the gateway)."""

    first_byte_ms: tuple[float, float]
    paced_events_per_second: tuple[float, float]
    bulk_mb_per_second: tuple[float, float]


def model_gateway(samples: int) -> GatewayFigures:
    """Start provider and gateway as separate processes and measure both."""
    with _server("provider") as direct, _server("gateway", f"http://127.0.0.1:{direct}") as through:
        ports = (direct, through)

        def both(times: int, measure: Callable[[int], float]) -> tuple[float, float]:
            found = [[measure(port) for port in ports] for _ in range(times)]
            return median(one for one, _ in found), median(other for _, other in found)

        for port in ports:
            _stream(port, BATCH, 0)
        return GatewayFigures(
            both(samples, lambda port: _stream(port, BATCH, 0)[0] * 1000),
            both(3, lambda port: PACED_EVENTS / _stream(port, PACED_EVENTS, PACED_PAUSE)[1]),
            both(3, _bulk_mb_per_second),
        )


def _bulk_mb_per_second(port: int) -> float:
    _, seconds, size = _stream(port, BULK_EVENTS, 0)
    return size / seconds / 1e6


def gateway_rows(found: GatewayFigures) -> list[Row]:
    """The table rows of these figures."""
    direct, through = found.first_byte_ms
    slow, paced = found.paced_events_per_second
    bulk_direct, bulk = found.bulk_mb_per_second
    return [
        (
            "model gateway: first byte",
            f"p50 {through:.1f} ms, without it {direct:.1f} ms",
            f"<= {MAX_ADDED_MS:.0f} ms more",
            through - direct <= MAX_ADDED_MS,
        ),
        (
            f"model gateway: a stream of {BATCH / PACED_PAUSE:.0f} events/s",
            f"{paced:.0f}/s, without it {slow:.0f}/s: {paced / slow:.3f}",
            f">= {MIN_RATIO} of the provider",
            paced / slow >= MIN_RATIO,
        ),
        (
            "model gateway: a stream without pauses",
            f"{bulk:.1f} MB/s, without it {bulk_direct:.0f} MB/s",
            "",
            True,
        ),
    ]


def _stream(port: int, events: int, pause: float) -> tuple[float, float, int]:
    """Request one stream; return (seconds to the first byte, seconds to the end, body size)."""
    body = {
        "model": MODEL,
        "stream": True,
        "max_tokens": events,
        "messages": [{"role": "user", "content": "Go."}],
        "metadata": {"pause": pause},
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began = time.monotonic()
    headers = {"content-type": "application/json", "x-api-key": KEY}
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {answer.read(500)!r}")
    size = len(answer.read1(65536))
    first = time.monotonic() - began
    while data := answer.read1(65536):
        size += len(data)
    seconds = time.monotonic() - began
    connection.close()
    return first, seconds, size


@contextmanager
def _server(*arguments: str) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.model_processes", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()
