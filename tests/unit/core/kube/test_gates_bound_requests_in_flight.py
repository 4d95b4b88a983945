"""Requests in flight are bounded per server and in total; none is stuck or counted twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildnet.kube.adaptive_limit import LimitBounds
from guildnet.kube.pacing import Gates, ServerSilent, Turn

FIXED = LimitBounds(floor=2, initial=2, ceiling=2)


async def entered(gates: Gates, server: str = "a", flow: str = "acme") -> asyncio.Task[Turn]:
    task = asyncio.create_task(gates.enter(server, flow))
    for _ in range(3):
        await asyncio.sleep(0)
    return task


Step = tuple[str, int, int]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "answered", "unanswered", "abandoned", "cancel"]),
            st.integers(0, 4),
            st.integers(0, 50),
        ),
        max_size=80,
    )
)
def test_no_order_of_events_breaks_the_bounds_or_loses_a_turn(steps: list[Step]) -> None:
    async def run_steps() -> None:
        gates = Gates(total=6, bounds=FIXED)
        tasks: list[asyncio.Task[Turn]] = []
        for kind, server, pick in steps:
            running = [t for t in tasks if t.done() and not t.cancelled() and not t.exception()]
            waiting = [t for t in tasks if not t.done()]
            if kind == "enter":
                tasks.append(await entered(gates, f"server-{server}", f"org-{pick % 3}"))
            elif kind == "cancel" and waiting:
                waiting[pick % len(waiting)].cancel()
            elif kind in ("answered", "unanswered", "abandoned") and running:
                chosen = running[pick % len(running)]
                tasks.remove(chosen)
                end: Callable[[Turn], None] = getattr(gates, kind)
                end(chosen.result())
            for _ in range(4):
                await asyncio.sleep(0)
            held = [t for t in tasks if t.done() and not t.cancelled() and not t.exception()]
            assert gates.in_flight == len(held)
            assert len(held) <= 6 + 4  # a server with no request in flight may always start one
            per_server = [t.result().gate for t in held]
            assert all(per_server.count(gate) <= 2 for gate in per_server)
        while gates.in_flight:
            for task in [t for t in tasks if t.done()]:
                tasks.remove(task)
                if not task.cancelled() and not task.exception():
                    gates.answered(task.result())
            for _ in range(4):
                await asyncio.sleep(0)
        assert all(task.done() for task in tasks)

    asyncio.run(run_steps())


async def test_servers_that_hang_do_not_use_up_the_total() -> None:
    gates = Gates(total=4, bounds=FIXED)
    for number in range(4):
        for _ in range(2):
            await entered(gates, f"hanging-{number}")
    good = await entered(gates, "good")
    assert good.done()


async def test_waiting_requests_fail_when_the_server_stops_answering() -> None:
    gates = Gates(bounds=FIXED)
    first, second = await entered(gates), await entered(gates)
    waiting = await entered(gates)
    gates.unanswered(first.result())
    with pytest.raises(ServerSilent):
        await waiting
    # While the server is silent, one request at a time may probe it.
    gates.unanswered(second.result())
    probe = await entered(gates)
    assert probe.done()
    with pytest.raises(ServerSilent):
        await gates.enter("a", "globex")
    gates.answered(probe.result())
    assert not (await gates.enter("a", "globex")).gate.is_silent


async def test_one_lost_answer_among_others_does_not_make_a_server_silent() -> None:
    gates = Gates(bounds=FIXED)
    lost, good = await entered(gates), await entered(gates)
    waiting = await entered(gates)
    gates.answered(good.result())
    gates.unanswered(lost.result())
    assert (await waiting).gate.is_silent is False


@pytest.mark.parametrize("asked", [float("nan"), -3.0, 0.0])
async def test_an_invalid_retry_after_does_not_stop_the_server(asked: float) -> None:
    gates = Gates(bounds=FIXED)
    gates.refused((await entered(gates)).result(), asked)
    async with asyncio.timeout(1):
        await gates.enter("a", "acme")


async def test_retry_after_pauses_the_whole_server_and_is_bounded() -> None:
    gates = Gates(bounds=FIXED)
    loop = asyncio.get_running_loop()
    gates.refused((await entered(gates)).result(), 0.05)
    began = loop.time()
    turn = await gates.enter("a", "globex")
    assert loop.time() - began >= 0.05
    gates.refused(turn, float("inf"))
    assert turn.gate.paused_until - loop.time() <= 30


def test_a_turn_granted_to_a_cancelled_caller_is_released() -> None:
    async def run_steps() -> None:
        gates = Gates(bounds=FIXED)
        first, _second = await entered(gates), await entered(gates)
        waiting = await entered(gates)
        gates.answered(first.result())  # grants the turn; the caller is cancelled before it runs
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert gates.in_flight == 1

    asyncio.run(run_steps())
