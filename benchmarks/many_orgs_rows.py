"""Table rows for many orgs, and for a good org beside a bad one."""

from __future__ import annotations

from benchmarks.bad_neighbour import CONTROL, QUIET, Neighbour
from benchmarks.many_orgs import ManyOrgs
from benchmarks.one_change import percentile

MIN_RATIO = 0.6
MAX_PEAK_MIB = 400.0
MAX_MIB_AN_ORG = 0.5
MAX_QUIET_P99_SECONDS = 1.0
MAX_RESTART_SECONDS = 30.0
MAX_NEIGHBOUR_RATIO = 1.5

Row = tuple[str, str, str, bool]
"""What was measured, the figure, its goal, and whether it is reached."""


def many_rows(result: ManyOrgs) -> list[Row]:
    what = f"{result.orgs} orgs of {result.tasks}"
    return [
        _sync_row(what, result),
        (
            f"{what}: failures",
            f"{result.unanswered} unanswered requests, {result.lost} lost Leases",
            "none",
            not result.unanswered and not result.lost,
        ),
        _change_row(what, result),
        (
            f"{what}: memory",
            f"peak {result.peak:.0f} MiB, idle {result.rest:.0f} MiB: "
            f"{result.mib_an_org:.2f} per org plus 2 KiB per task",
            f"<= {MAX_PEAK_MIB:.0f} MiB, <= {MAX_MIB_AN_ORG} MiB per org",
            result.peak <= MAX_PEAK_MIB and result.mib_an_org <= MAX_MIB_AN_ORG,
        ),
        (
            f"{what}: restarted",
            f"{result.restart_seconds:.1f} s, peak {result.restart_peak:.0f} MiB, "
            f"{result.restart_writes} writes",
            f"<= {MAX_RESTART_SECONDS:.0f} s, <= {MAX_PEAK_MIB:.0f} MiB, no write",
            result.restart_seconds <= MAX_RESTART_SECONDS
            and result.restart_peak <= MAX_PEAK_MIB
            and not result.restart_writes,
        ),
    ]


def _sync_row(what: str, result: ManyOrgs) -> Row:
    total, ratio = result.orgs * result.tasks, result.rate / result.bare
    figure = f"{result.rate:.0f}/s, bare client {result.bare:.0f}/s: {ratio:.2f}"
    return (
        f"first sync of {what}, one API server",
        f"{result.done} of {total} objects; {figure}",
        f"all, >= {MIN_RATIO} of the bare client",
        result.done == total and ratio >= MIN_RATIO,
    )


def _change_row(what: str, result: ManyOrgs) -> Row:
    changes = result.changes or (float("inf"),)
    p50, p99 = percentile(changes, 50), percentile(changes, 99)
    return (
        f"{what}: a change in an idle org meanwhile",
        f"p50 {p50:.2f} s, p99 {p99:.2f} s ({len(result.changes)} changes)",
        f"p99 <= {MAX_QUIET_P99_SECONDS:g} s",
        p99 <= MAX_QUIET_P99_SECONDS,
    )


def neighbour_rows(result: Neighbour) -> list[Row]:
    rows: list[Row] = []
    for kind, samples in result.samples.items():
        figure = f"p50 {percentile(samples, 50):.0f}, p99 {result.p99(kind):.0f} ms"
        if kind == QUIET:
            what = f"a good org's change ({len(samples)} changes)"
            rows.append((what, figure, "-", True))
            continue
        ratio = result.ratio(kind)
        is_bad = kind != CONTROL
        goal = f"<= {MAX_NEIGHBOUR_RATIO} times the p99 without it" if is_bad else "-"
        reached = not is_bad or ratio <= MAX_NEIGHBOUR_RATIO
        rows.append((f"the same beside {kind}", f"{figure}: {ratio:.2f} times", goal, reached))
    return rows
