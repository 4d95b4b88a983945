"""`make test`: run each tier that this machine can run, and say which were skipped and why.

python -m tests.run [unit] [functional] [cluster] [agents] [talos] [e2e] [-- pytest arguments]

Tiers that share no cluster run at the same time, in lanes: much of a test's time is waiting.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.agents.site import PROTOCOLS
from tests.ssh_server import ensure_ssh_server

from guildnet.errors import GuildNetError
from guildnet_demo.sites import AGENTS
from guildnet_devcluster.components import ensure, is_built
from guildnet_devcluster.images import ensure_images
from guildnet_devcluster.packages import ensure_packages
from guildnet_devcluster.preparation import (
    prepare_control_plane,
    prepare_everything,
    prepare_forge,
    prepare_mesh,
    prepare_talos,
)
from guildnet_devcluster.progress import Progress, progress_to
from guildnet_devcluster.talos.programs import TALOS_COMPONENTS

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
NO_TESTS_COLLECTED = 5
SLOWEST = 20
REPORT_SECONDS = 60
STARTED = time.monotonic()
#: Talos is compiled only if it begins earlier, so that a run with an empty cache ends in an hour.
TALOS_BUILD_MINUTES = 25
# Tests that share no cluster: those that use the CPU, and those that mostly wait.
EVERY_CORE = ("--numprocesses", "auto")
MORE_THAN_CORES = ("--numprocesses", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One kind of test. `prepare`, if any, installs and builds what it needs; it raises
    GuildNetError where it cannot. `options` are for pytest."""

    name: str
    folder: Path
    prepare: Callable[[Progress], None] | None = None
    #: Whether it is prepared after all others.
    prepared_last: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    tier: str
    verdict: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""
    #: The slowest parts of its tests: seconds, and the test with "setup", "call" or "teardown".
    slowest: tuple[tuple[float, str], ...] = ()


def _servers(progress: Progress) -> None:
    ensure_packages(["git"], progress)
    try:
        ensure_ssh_server(progress)
    except GuildNetError as error:
        progress.line(f"tests over ssh will be skipped: {error}")
    for name in ("helm", "promtool"):
        try:
            ensure(name, progress)
        except GuildNetError as error:
            progress.line(f"tests of the charts that need {name} will be skipped: {error}")
    prepare_forge(progress)
    try:
        prepare_mesh(progress)
    except GuildNetError as error:
        progress.line(f"tests of the mesh will be skipped: {error}")


def _everything(progress: Progress) -> None:
    prepare_everything(progress, AGENTS)
    try:
        ensure_images(progress, PROTOCOLS)
    except GuildNetError as error:
        progress.line(f"tests of real coding agents will be skipped: {error}")
    ensure_packages(["chromium", "chromium-driver"], progress)


def _talos(progress: Progress) -> None:
    missing = [name for name in TALOS_COMPONENTS if not is_built(name)]
    minutes = (time.monotonic() - STARTED) / 60
    if missing and minutes > TALOS_BUILD_MINUTES:
        raise GuildNetError(
            f"{', '.join(missing)} not compiled after {minutes:.0f} min of other work",
            place="tests/talos",
            cure="Run `make test-talos`, which compiles it once; later runs include this tier.",
        )
    prepare_talos(progress)


_AGENTS = TESTS / "e2e" / "agents"
#: Lanes run at the same time, the tiers of a lane one after the other.
LANES = (
    (
        Tier(name="unit", folder=TESTS / "unit", options=EVERY_CORE),
        Tier(
            name="functional",
            folder=TESTS / "functional",
            prepare=_servers,
            options=MORE_THAN_CORES,
        ),
        Tier(name="cluster", folder=TESTS / "cluster", prepare=prepare_control_plane),
    ),
    (
        Tier(name="agents", folder=_AGENTS, prepare=_everything),
        Tier(name="talos", folder=TESTS / "talos", prepare=_talos, prepared_last=True),
    ),
    (
        Tier(
            name="e2e",
            folder=TESTS / "e2e",
            prepare=_everything,
            options=(f"--ignore={_AGENTS}",),
        ),
    ),
)
TIERS = tuple(tier for lane in LANES for tier in lane)


def prepare(tiers: Sequence[Tier], progress: Progress) -> dict[str, str]:
    """Prepare `tiers`; returns, for each tier that cannot run, the reason.

    The last tier comes first: it needs the most, and builds parts in parallel.
    """
    reasons = {}
    last = [tier for tier in tiers if tier.prepared_last]
    for tier in [*(tier for tier in reversed(tiers) if tier not in last), *last]:
        try:
            if tier.prepare:
                tier.prepare(progress)
        except GuildNetError as error:
            reasons[tier.name] = str(error)
    return reasons


@dataclass(slots=True)
class Board:
    """What the lanes report, one tier's output in one piece."""

    #: Whether only one tier runs, so that its output can be printed as it comes.
    alone: bool
    _states: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: float = field(default_factory=lambda: time.monotonic() + REPORT_SECONDS)

    def begin(self, tier: str) -> None:
        with self._lock:
            print(f"\n=== tier {tier}", flush=True)

    def line(self, tier: str, line: str) -> None:
        with self._lock:
            if self.alone:
                print(line, end="", flush=True)
            elif found := re.search(r"\[ *(\d+%)\]$", line.rstrip()):
                self._states[tier] = found[1]
                self._report()

    def end(self, result: Result, output: Sequence[str]) -> None:
        with self._lock:
            self._states.pop(result.tier, None)
            if not self.alone:
                print(f"\n=== tier {result.tier}: {result.verdict}", flush=True)
                print("".join(output), end="", flush=True)

    def _report(self) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + REPORT_SECONDS
            states = ", ".join(f"{tier} {state}" for tier, state in sorted(self._states.items()))
            print(f"... {states}", flush=True)


def run_tier(tier: Tier, arguments: Sequence[str], board: Board) -> Result:
    """Run one tier; the output of pytest goes to `board`."""
    board.begin(tier.name)
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", str(tier.folder), *tier.options]
    command += [f"--durations={SLOWEST}", "--durations-min=1", *arguments]
    output: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            board.line(tier.name, line)
    last = next((line for line in reversed(output) if line.strip()), "")
    result = Result(
        tier.name,
        "passed" if process.returncode == 0 else "FAILED",
        passed=_count(last, "passed"),
        failed=_count(last, "failed") + _count(last, "error"),
        skipped=_count(last, "skipped"),
        seconds=time.monotonic() - began,
        note="no tests found" if process.returncode == NO_TESTS_COLLECTED else "",
        slowest=tuple(
            (float(found[1]), f"{found[2]} {found[3]}")
            for line in output
            if (found := re.match(r"([\d.]+)s (setup|call|teardown) +(\S.*)", line))
        ),
    )
    board.end(result, output)
    return result


def _count(line: str, word: str) -> int:
    match = re.search(rf"(\d+) {word}", line)
    return int(match[1]) if match else 0


def run_lanes(
    lanes: Sequence[Sequence[Tier]], arguments: Sequence[str], reasons: dict[str, str]
) -> list[Result]:
    """Run `lanes` at the same time, without the tiers that have a reason not to run."""
    able = [[tier for tier in lane if tier.name not in reasons] for lane in lanes]
    board = Board(alone=sum(bool(lane) for lane in able) <= 1)

    def run_lane(lane: Sequence[Tier]) -> list[Result]:
        return [run_tier(tier, arguments, board) for tier in lane]

    with ThreadPoolExecutor(max_workers=len(able)) as pool:
        results = [result for lane in pool.map(run_lane, able) for result in lane]
    skipped = [Result(tier, "skipped", note=reason) for tier, reason in reasons.items()]
    order = [tier.name for tier in TIERS]
    return sorted([*results, *skipped], key=lambda result: order.index(result.tier))


def report(results: Sequence[Result]) -> int:
    """Print the table of all tiers; returns the exit code."""
    slowest = sorted((row for r in results for row in r.slowest), reverse=True)[:SLOWEST]
    if slowest:
        print("\nslowest parts of tests:")
    for seconds, test in slowest:
        print(f"{seconds:>8.1f} s  {test}")
    print(f"\n{'tier':<12}{'verdict':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for r in results:
        row = (
            f"{r.tier:<12}{r.verdict:<10}{r.passed:>8}{r.failed:>8}{r.skipped:>9}{r.seconds:>9.0f}"
        )
        print(f"{row}  {r.note}".rstrip())
    totals = [sum(getattr(r, key) for r in results) for key in ("passed", "failed", "skipped")]
    print("\n{} passed, {} failed, {} skipped".format(*totals))
    return 0 if totals[0] and all(r.verdict != "FAILED" for r in results) else 1


def main(arguments: Sequence[str]) -> int:
    own = list(arguments[: arguments.index("--")]) if "--" in arguments else list(arguments)
    passed_on = list(arguments[len(own) + 1 :])
    unknown = set(own) - {tier.name for tier in TIERS}
    if unknown:
        print(f"unknown tier: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    lanes = [[tier for tier in lane if not own or tier.name in own] for lane in LANES]
    # Tiers that need nothing come first: what they find is known before anything is built.
    at_once = [[tier for tier in lane if not tier.prepare] for lane in lanes]
    results = run_lanes(at_once, passed_on, {})
    prepared = [[tier for tier in lane if tier.prepare] for lane in lanes]
    reasons = prepare([tier for lane in prepared for tier in lane], progress_to(sys.stderr))
    return report([*results, *run_lanes(prepared, passed_on, reasons)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
