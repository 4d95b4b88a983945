"""`make test`: run each tier that this machine can run, and say which were skipped and why.

python -m tests.run [unit] [functional] [cluster] [e2e] [-- pytest arguments]
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.agents.site import PROTOCOLS
from tests.ssh_server import ensure_ssh_server

from guildnet.errors import GuildNetError
from guildnet_demo.sites import AGENTS
from guildnet_devcluster.components import ensure
from guildnet_devcluster.images import ensure_images
from guildnet_devcluster.packages import ensure_packages
from guildnet_devcluster.preparation import (
    prepare_control_plane,
    prepare_everything,
    prepare_forge,
    prepare_mesh,
)
from guildnet_devcluster.progress import Progress, progress_to

ROOT = Path(__file__).parent.parent
NO_TESTS_COLLECTED = 5
# The other tiers share one cluster, and the cores of this machine.
EVERY_CORE = ("--numprocesses", "auto")


@dataclass(frozen=True, slots=True)
class Tier:
    """One kind of test. `prepare`, if any, installs and builds what it needs; it raises
    GuildNetError where it cannot. `options` are for pytest."""

    name: str
    prepare: Callable[[Progress], None] | None
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


TIERS = (
    Tier("unit", None, EVERY_CORE),
    Tier("functional", _servers, EVERY_CORE),
    Tier("cluster", prepare_control_plane),
    Tier("e2e", _everything),
)


def prepare(tiers: Sequence[Tier], progress: Progress) -> dict[str, str]:
    """Prepare `tiers`; returns, for each tier that cannot run, the reason.

    The last tier comes first: it needs the most, and builds parts in parallel.
    """
    reasons = {}
    for tier in reversed(tiers):
        try:
            if tier.prepare:
                tier.prepare(progress)
        except GuildNetError as error:
            reasons[tier.name] = str(error)
    return reasons


def run_tier(tier: Tier, arguments: Sequence[str]) -> Result:
    """Run one tier; the output of pytest goes to ours."""
    folder = ROOT / "tests" / tier.name
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", str(folder), *tier.options, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line if line.strip() else last
    counts = {word: _count(last, word) for word in ("passed", "failed", "skipped")}
    errors = _count(last, "error")
    return Result(
        tier.name,
        "passed" if process.returncode == 0 else "FAILED",
        passed=counts["passed"],
        failed=counts["failed"] + errors,
        skipped=counts["skipped"],
        seconds=time.monotonic() - began,
        note="no tests found" if process.returncode == NO_TESTS_COLLECTED else "",
    )


def _count(line: str, word: str) -> int:
    match = re.search(rf"(\d+) {word}", line)
    return int(match[1]) if match else 0


def main(arguments: Sequence[str]) -> int:
    own = list(arguments[: arguments.index("--")]) if "--" in arguments else list(arguments)
    passed_on = list(arguments[len(own) + 1 :])
    unknown = set(own) - {tier.name for tier in TIERS}
    if unknown:
        print(f"unknown tier: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    progress = progress_to(sys.stderr)
    chosen = [tier for tier in TIERS if not own or tier.name in own]
    results = []
    reasons: dict[str, str] | None = None
    for position, tier in enumerate(chosen):
        print(f"\n=== tier {tier.name}", flush=True)
        if tier.prepare and reasons is None:
            reasons = prepare(chosen[position:], progress)
        why_not = (reasons or {}).get(tier.name)
        results.append(
            Result(tier.name, "skipped", note=why_not) if why_not else run_tier(tier, passed_on)
        )
    print(f"\n{'tier':<12}{'verdict':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for r in results:
        row = (
            f"{r.tier:<12}{r.verdict:<10}{r.passed:>8}{r.failed:>8}{r.skipped:>9}{r.seconds:>9.0f}"
        )
        print(f"{row}  {r.note}".rstrip())
    totals = [sum(getattr(r, key) for r in results) for key in ("passed", "failed", "skipped")]
    print("\n{} passed, {} failed, {} skipped".format(*totals))
    return 0 if totals[0] and all(r.verdict != "FAILED" for r in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
