"""Orgs share one API server: no flow starves, and a small change overtakes a first sync."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from guildnet.kube.fairness import BULK_EVERY, CREDIT, FairQueue

FLOWS = ("acme", "globex", "initech", "umbrella")


def exhausted(*flows: str) -> FairQueue[tuple[str, int]]:
    """A queue in which these flows have used up their credit."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for flow in flows:
        for _ in range(int(CREDIT)):
            queue.charge(flow, 0.0)
    return queue


def drained(queue: FairQueue[tuple[str, int]], now: float = 0.0) -> list[tuple[str, int]]:
    return [queue.pop(now) for _ in range(len(queue))]


@given(st.lists(st.sampled_from(FLOWS), max_size=60))
def test_no_item_is_lost_repeated_or_reordered_within_a_flow(pushes: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, flow in enumerate(pushes):
        queue.push(flow, (flow, number), 0.0)
    out = drained(queue)
    assert sorted(out, key=lambda item: item[1]) == [(f, n) for n, f in enumerate(pushes)]
    for flow in FLOWS:
        numbers = [n for f, n in out if f == flow]
        assert numbers == sorted(numbers)


@given(st.dictionaries(st.sampled_from(FLOWS), st.integers(1, 50), min_size=2))
def test_between_two_turns_of_a_bulk_flow_each_other_flow_gets_at_most_one(
    sizes: dict[str, int],
) -> None:
    queue = exhausted(*FLOWS)
    for flow, size in sizes.items():
        for number in range(size):
            queue.push(flow, (flow, number), 0.0)
    out = [flow for flow, _ in drained(queue)]
    for flow in sizes:
        turns = [index for index, name in enumerate(out) if name == flow]
        for first, second in pairwise(turns):
            between = out[first + 1 : second]
            assert len(between) == len(set(between))


@given(st.integers(1, 1000), st.integers(1, int(CREDIT)))
def test_a_small_change_waits_for_one_bulk_request_in_four_at_most(bulk: int, small: int) -> None:
    queue = exhausted("acme")
    for number in range(bulk):
        queue.push("acme", ("acme", number), 0.0)
    for number in range(small):
        queue.push("globex", ("globex", number), 0.0)
    out = [flow for flow, _ in drained(queue)]
    last = max(index for index, flow in enumerate(out) if flow == "globex")
    assert last < small + small // (BULK_EVERY - 1) + 1


@given(st.integers(1, 200))
def test_quiet_flows_never_starve_a_bulk_flow(rivals: int) -> None:
    queue = exhausted("acme")
    queue.push("acme", ("acme", 0), 0.0)
    for rival in range(rivals):
        queue.push(f"org-{rival}", (f"org-{rival}", 0), 0.0)
    out = [flow for flow, _ in drained(queue)]
    assert out.index("acme") < BULK_EVERY


def test_credit_refills_with_time() -> None:
    queue = exhausted("acme", "globex")
    for number in range(40):
        queue.push("acme", ("acme", number), 0.0)
    queue.push("globex", ("globex", 0), 60.0)
    assert queue.pop(60.0) == ("globex", 0)


def test_a_discarded_item_is_not_served() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    queue.push("acme", ("acme", 1), 0.0)
    queue.push("acme", ("acme", 2), 0.0)
    queue.discard("acme", ("acme", 1))
    queue.discard("acme", ("acme", 9))
    queue.discard("unknown", ("acme", 9))
    assert drained(queue) == [("acme", 2)]
    assert not queue


def test_idle_flows_are_dropped() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(5000):
        queue.charge(f"org-{number}", float(number))
    assert len(queue._flows) < 600
