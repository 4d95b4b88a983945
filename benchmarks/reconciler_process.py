"""A reconciler in a separate process, so that its memory can be measured. It writes a report as a
line of JSON to standard output twice a second, until standard input is closed.

`python -m benchmarks.reconciler_process REPOSITORY STATE_DIRECTORY`
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from prometheus_client import Counter

from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.settings import Settings

REPORT_SECONDS = 0.5


class WarningCounter(logging.Handler):
    """Counts the reconciler's warnings by the text before the first colon."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        key = record.getMessage().split(":")[0][:60]
        self.counts[key] = self.counts.get(key, 0) + 1


def main() -> None:
    repository, state = sys.argv[1:]
    asyncio.run(_run(repository, Path(state)))


async def _run(repository: str, state: Path) -> None:
    began = time.perf_counter()
    warnings = WarningCounter()
    warnings.setLevel(logging.WARNING)
    logging.getLogger("guildnet_reconciler").addHandler(warnings)
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
            _report(running, time.perf_counter() - began, warnings)
            await asyncio.sleep(REPORT_SECONDS)
    finally:
        await running.close()


def _report(running: ReconcilerService, age: float, warnings: WarningCounter) -> None:
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
        "warnings": warnings.counts,
        "cpu": time.process_time(),
        **_memory(running.capacity.validation.workers.pids),
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


def _memory(workers: Iterable[int]) -> dict[str, float]:
    """Resident memory in MiB with that of the worker processes: current and peak."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    rss, own_peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    beside = sum(map(_share_of, workers))
    _peak[0] = max(_peak[0], own_peak, rss + beside)
    return {"rss": rss + beside, "peak": _peak[0]}


_peak = [0.0]


def _share_of(pid: int) -> float:
    """The proportional set size of a process in MiB: pages of Python itself are shared."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
