"""A reconciler in a process of its own, so that its memory is its own: what it has done so far is a
line of JSON on standard output, twice a second, until standard input ends.

`python -m benchmarks.reconciler_process REPOSITORY STATE_DIRECTORY`
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import timedelta
from pathlib import Path

from prometheus_client import Counter

from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.settings import Settings

REPORT_SECONDS = 0.5


class Complaints(logging.Handler):
    """Counts what the reconciler logs of its orgs, by the first word."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        word = record.getMessage().split(":")[0][:60]
        self.counts[word] = self.counts.get(word, 0) + 1


def main() -> None:
    repository, state = sys.argv[1:]
    asyncio.run(_run(repository, Path(state)))


async def _run(repository: str, state: Path) -> None:
    began = time.perf_counter()
    complaints = Complaints()
    complaints.setLevel(logging.WARNING)
    logging.getLogger("guildnet_reconciler").addHandler(complaints)
    running = ReconcilerService(
        Settings(
            repo=repository, state_dir=state, listen=None, poll=timedelta(hours=1), holder="bench"
        )
    )
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    try:
        await running.open_status()
        running.start(triggers=True)
        while not ended.done():
            _report(running, time.perf_counter() - began, complaints)
            await asyncio.sleep(REPORT_SECONDS)
    finally:
        await running.close()


def _report(running: ReconcilerService, age: float, complaints: Complaints) -> None:
    scheduler, status = running.scheduler, running.status
    outcomes = list(scheduler.summary().values())
    answers: dict[str, int] = {}
    for metric in running.metrics.api_requests.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                key = f"{sample.labels['verb']} {sample.labels['code']}"
                answers[key] = answers.get(key, 0) + int(sample.value)
    line = {
        "age": age,
        "recorded": sum(len(status.of(org).recorded) for org in status.orgs()),
        "orgs": len(outcomes),
        "orgs_ok": outcomes.count("ok"),
        "settled": scheduler.is_settled,
        "answers": answers,
        "leases_lost": int(_total(running.metrics.leases_lost)),
        "complaints": complaints.counts,
        "cpu": time.process_time(),
        **_memory(),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _total(counter: Counter) -> float:
    return sum(
        sample.value
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


def _memory() -> dict[str, float]:
    """Resident MiB, now and at most."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "rss": int(fields["VmRSS"].split()[0]) / 1024,
        "peak": int(fields["VmHWM"].split()[0]) / 1024,
    }


if __name__ == "__main__":
    main()
