"""A restarted operator does not write to objects that need no change."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from guildnet import conditions
from guildnet.kube import (
    AGENT_TASKS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS,
    SECRETS,
    SERVICES,
)
from guildnet.kube.transport import Request, Transport

WRITTEN = (
    AGENT_TASKS,
    CONFIG_MAPS,
    SECRETS,
    NETWORK_POLICIES,
    DEPLOYMENTS,
    SERVICES,
    PERSISTENT_VOLUME_CLAIMS,
)
FINISHED = 200
#: Of the task in which kopf calls the handlers of one object. If each object waits for all others,
#: there are more than a hundred.
STEPS_FOR_EACH = 10


@pytest.fixture
def sent(org: Any, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every write that the operator tries, except to its Lease and to agents."""
    found: list[Request] = []
    send = Transport.send

    async def recorded(self: Transport, request: Request) -> Any:
        is_ours = self is not org.admin._transport
        if is_ours and request.method != "GET" and "/leases" not in request.path:
            found.append(request)
        return await send(self, request)

    monkeypatch.setattr(Transport, "send", recorded)
    return found


@pytest.fixture
async def worker_steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of kopf's task for an object, each time that the task runs."""
    found: list[str] = []
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon

    def recorded(callback: Any, *given: Any, **context: Any) -> Any:
        task = getattr(callback, "__self__", None)
        if isinstance(task, asyncio.Task) and task.get_name().startswith("worker for "):
            found.append(task.get_name())
        return call_soon(callback, *given, **context)

    monkeypatch.setattr(loop, "call_soon", recorded)
    return found


async def test_a_restart_over_unchanged_objects_writes_nothing(
    org: Any, node: Any, sent: list[Request]
) -> None:
    """I4: a finished task, a running one, and one that waits for a volume."""
    for task in ("done", "busy", "waiting"):
        await org.add(task)
    async with org.operated():
        await node.run_to_success("done")
        await node.run_pod("busy")
        await org.reaches("busy", "Ready", "True", "AgentServing")
        await org.reaches("waiting", "Scheduled", "False", "VolumePending")
    before = await _versions(org)
    sent.clear()
    async with org.operated():
        await _newcomer(org, node)
    after = await _versions(org)
    assert {name: after[name] for name in before} == before
    assert _others(sent) == []


async def test_a_restart_over_many_finished_ones_writes_nothing(
    org: Any, node: Any, sent: list[Request], worker_steps: list[str]
) -> None:
    """I4, I7: none is written, however many there are, and none starts again. The work for each
    does not depend on how many others there are."""
    names = [f"done-{number:03}" for number in range(FINISHED)]
    await asyncio.gather(*(org.add(name, cancel=True) for name in names))
    await org.add("worked")
    async with org.operated():
        await node.run_to_success("worked")
        await org.comes_to(lambda: _are_finished(org, FINISHED + 1), "all are finished")
    before, counts = await _versions(org), await _event_counts(org)
    assert all(counts[name] == 1 for name in names), "each end has one Event"
    sent.clear()
    org.requests.clear()
    worker_steps.clear()
    async with org.operated():
        await _newcomer(org, node)
        steps, requests = len(worker_steps), Counter(org.requests)
    after = await _versions(org)
    assert {name: after[name] for name in before} == before
    assert {
        name: count for name, count in (await _event_counts(org)).items() if name in counts
    } == counts
    assert _others(sent) == []
    assert FINISHED <= steps <= STEPS_FOR_EACH * FINISHED
    assert requests["list"] + requests["get"] < FINISHED / 4, requests


async def test_a_restart_repeats_no_event_of_a_blocked_task(org: Any) -> None:
    """I4, I10: the blocking error is found again, without a second Event."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-volumes", "namespace": org.namespace},
        "spec": {"hard": {"persistentvolumeclaims": "0"}},
    }
    path = f"/api/v1/namespaces/{org.namespace}/resourcequotas"
    await org.admin._write("create", "POST", path, "quota", body=quota)
    await org.add("squeezed")
    async with org.operated():
        await org.reaches("squeezed", "Scheduled", "False", "QuotaExceeded")
    before, counts = await org.status("squeezed"), (await _event_counts(org))["squeezed"]
    async with org.operated():
        await org.add("newcomer")
        await org.reaches("newcomer", "Scheduled", "False", "QuotaExceeded")
        assert await org.status("squeezed") == before
    assert (await _event_counts(org))["squeezed"] == counts


async def _newcomer(org: Any, node: Any) -> None:
    """A task created last and reconciled proves that all others were reconciled."""
    await org.add("newcomer")
    await node.run_pod("newcomer")
    await org.reaches("newcomer", "Ready", "True", "AgentServing")


def _others(sent: list[Request]) -> list[str]:
    """Writes that do not concern that last task."""
    return [
        f"{request.verb} {request.what}"
        for request in sent
        if "newcomer" not in request.path and b'"newcomer' not in (request.body or b"")
    ]


async def _versions(org: Any) -> dict[tuple[str, str], tuple[str, int]]:
    """What a write of the operator would change; where others write the status, only the spec."""
    by_others = (DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS)
    return {
        (kind.kind, o["metadata"]["name"]): (
            "" if kind in by_others else o["metadata"]["resourceVersion"],
            o["metadata"].get("generation", 0),
        )
        for kind in WRITTEN
        for o in await org.admin.list_all(kind, org.namespace)
    }


async def _event_counts(org: Any) -> Counter[str]:
    """The number of Events of each AgentTask."""
    found = await org.admin.list_all(EVENTS, org.namespace)
    involved = [e["involvedObject"] for e in found]
    return Counter(o["name"] for o in involved if o["kind"] == "AgentTask")


async def _are_finished(org: Any, number: int) -> bool:
    found = await org.admin.list_all(AGENT_TASKS, org.namespace)
    done = [o for o in found if conditions.is_finished(o.get("status", {}), o["spec"]["run"])]
    return len(done) == number
