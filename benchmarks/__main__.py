"""`python -m benchmarks`: run all benchmarks and print a table.

GUILDNET_BENCH_TASKS (2000) sets the number of tasks. `--large` runs only the long benchmark, the
first sync of 100 orgs of 1,000 tasks; `--neighbour` only that of a good org beside a bad one;
`--operator` only the operator's restart over finished tasks.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.bad_neighbour import bad_neighbour
from benchmarks.environment import LocalRepository, api_server
from benchmarks.first_sync import FirstSync, first_sync
from benchmarks.many_orgs import many_orgs
from benchmarks.many_orgs_rows import Row, many_rows, neighbour_rows
from benchmarks.model_gateway import gateway_rows, model_gateway
from benchmarks.one_change import NAMESPACE, OneChange, one_change, percentile
from benchmarks.operator_restart import OperatorRestart, operator_restart
from benchmarks.restart import Restart, restart

MIN_RATIO = 0.6
MAX_P50_MS = 400.0
MANY, LARGE = (50, 100), (100, 1000)
"""The number of orgs, and of tasks in each."""
LARGE_LIMIT_SECONDS = 2400
NEIGHBOUR_SAMPLES = 100
MAX_READY_SECONDS, MAX_OPERATOR_MIB, MAX_CHILDREN_MS = 20.0, 300.0, 300.0


def main() -> int:
    """Run the benchmarks; return 1 if a figure misses its goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    size = int(os.environ.get("GUILDNET_BENCH_TASKS", "2000"))
    parser.add_argument("--tasks", type=int, default=size)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--operator", action="store_true")
    options = parser.parse_args()
    # On SIGTERM, exit through the context managers, which stop the cluster.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with api_server() as kubeconfig, tempfile.TemporaryDirectory() as folder:
        measure = (
            _large
            if options.large
            else _neighbour
            if options.neighbour
            else _operator
            if options.operator
            else _all
        )
        rows = asyncio.run(measure(kubeconfig, Path(folder), options))
    Console(width=110).print(_table(rows))
    return 0 if all(ok for *_, ok in rows) else 1


async def _all(kubeconfig: Path, folder: Path, options: argparse.Namespace) -> list[Row]:
    _report(f"first sync of {options.tasks} tasks, alternating with a bare client ...")
    sync = await first_sync(kubeconfig, folder / "sync", options.tasks)
    _report(f"one task of {options.tasks} changed, {options.samples} times ...")
    repository, state = LocalRepository(folder / "change" / "repository"), folder / "state"
    change = await one_change(kubeconfig, repository, state, options.tasks, options.samples)
    _report(f"the reconciler restarted over {options.tasks} tasks in sync ...")
    again = await restart(kubeconfig, repository, state, NAMESPACE, options.tasks)
    orgs, tasks = MANY
    _report(f"first sync of {orgs} orgs of {tasks} tasks on one API server ...")
    many = await many_orgs(kubeconfig, folder / "many", orgs, tasks)
    neighbour = await _neighbour(kubeconfig, folder, options)
    _report(
        "streams through the model gateway, alternating with direct requests to the provider ..."
    )
    gateway = await asyncio.to_thread(model_gateway, options.samples)
    operator = await _operator(kubeconfig, folder, options)
    return [
        *_sync_rows(sync),
        *_change_rows(change),
        *_restart_rows(again),
        *many_rows(many),
        *neighbour,
        *operator,
        *gateway_rows(gateway),
    ]


async def _large(kubeconfig: Path, folder: Path, options: argparse.Namespace) -> list[Row]:
    orgs, tasks = LARGE
    _report(f"first sync of {orgs} orgs of {tasks} tasks on one API server: 10 min or more ...")
    found = await many_orgs(
        kubeconfig, folder / "many", orgs, tasks, limit_seconds=LARGE_LIMIT_SECONDS
    )
    return many_rows(found)


async def _neighbour(kubeconfig: Path, folder: Path, _: argparse.Namespace) -> list[Row]:
    _report("a good org's changes beside a bad org: about 6 min ...")
    found = await bad_neighbour(kubeconfig, folder / "neighbour", NEIGHBOUR_SAMPLES)
    return neighbour_rows(found)


async def _operator(kubeconfig: Path, folder: Path, options: argparse.Namespace) -> list[Row]:
    _report(f"the operator restarted over {options.tasks} finished tasks ...")
    return _operator_rows(await operator_restart(kubeconfig, folder / "operator", options.tasks))


def _operator_rows(result: OperatorRestart) -> list[Row]:
    what = f"operator restarted over {result.tasks} finished tasks"
    figure = f"ready after {result.ready:.1f} s, {result.cpu:.1f} s of CPU; {result.writes} writes"
    ready = result.ready <= MAX_READY_SECONDS and result.writes == 0
    p50 = percentile(result.children, 50) * 1000
    return [
        (what, figure, f"<= {MAX_READY_SECONDS:.0f} s, no write", ready),
        (
            "its memory",
            f"{result.memory:.0f} MiB",
            f"<= {MAX_OPERATOR_MIB:.0f} MiB",
            result.memory <= MAX_OPERATOR_MIB,
        ),
        (
            "an AgentTask's Deployment then",
            f"p50 {p50:.0f} ms",
            f"p50 <= {MAX_CHILDREN_MS:.0f} ms",
            p50 <= MAX_CHILDREN_MS,
        ),
    ]


def _sync_rows(result: FirstSync) -> list[Row]:
    what = f"first sync of {result.tasks} tasks"
    figure = f"{result.ours:.0f}/s, bare client {result.bare:.0f}/s: {result.ratio:.2f}"
    return [(what, figure, f">= {MIN_RATIO} of the bare client", result.ratio >= MIN_RATIO)]


def _change_rows(result: OneChange) -> list[Row]:
    p50, p90 = percentile(result.changed, 50), percentile(result.changed, 90)
    idle = percentile(result.irrelevant, 50)
    writes = f"{result.api_requests} API requests, {result.status_commits} status commits"
    quiet = result.api_requests == 0 and result.status_commits == 0
    return [
        (
            f"one task of {result.tasks} changed, commit to object",
            f"p50 {p50:.0f} ms, p90 {p90:.0f} ms",
            f"p50 <= {MAX_P50_MS:.0f} ms",
            p50 <= MAX_P50_MS,
        ),
        ("a commit that changes no resource", f"p50 {idle:.0f} ms, {writes}", "no write", quiet),
    ]


def _restart_rows(result: Restart) -> list[Row]:
    ratio = result.ours / result.bare_list
    figure = f"{result.ours:.2f} s, {ratio:.1f} times a bare list of them"
    writes = f"{result.writes} writes, {result.status_commits} status commits"
    quiet = result.writes == 0 and result.status_commits == 0
    return [(f"restarted over {result.tasks} tasks", f"{figure}; {writes}", "no write", quiet)]


def _table(rows: list[Row]) -> Table:
    title = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    table = Table(title=f"GuildNet benchmarks: {title}, Python {platform.python_version()}")
    for column in ("what", "figure", "goal", "reached"):
        table.add_column(column)
    for what, figure, goal, ok in rows:
        table.add_row(what, figure, goal, "yes" if ok else "NO")
    return table


def _report(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
