"""Keys are made with pods, and peers are removed with them, on a control server in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from guildnet.agent_api.state import AgentState, MeshPeer
from guildnet.errors import MeshRefused, MeshUnavailable
from guildnet.mesh import mesh_settings
from guildnet_operator.agents.view import AgentView
from guildnet_operator.cache import Cache
from guildnet_operator.decisions.inputs import MeshView, Observed
from guildnet_operator.decisions.slots import Admission
from guildnet_operator.manifests import Plan
from guildnet_operator.mesh import keeper as keeper_module
from guildnet_operator.mesh.control_server import AuthKey, Peer
from guildnet_operator.mesh.keeper import MeshKeeper
from guildnet_operator.views import (
    ContainerView,
    OrgSettings,
    PodView,
    SecretView,
    TaskView,
    child_view,
)

MESH = mesh_settings(
    "acme", {"mode": "tailscale", "apiSecret": "mesh", "loginServer": "https://hs.example"}
)
ORG = OrgSettings("acme", mesh=MESH)
SECRET = SecretView("mesh", "mesh", ("hs.example",), frozenset({"api-key"}))
USER = "guildnet-acme-0"
Change = Callable[[TaskView], TaskView]


@dataclass
class Control:
    """A control server in memory. `error` is raised by each request; `hang` makes it wait."""

    error: Exception | None = None
    hang: bool = False
    keys: dict[str, list[str]] = field(default_factory=dict)
    joined: dict[str, Peer] = field(default_factory=dict)
    requests: int = 0
    most_peers: int = 0

    async def make_key(self, hostname: str, tags: Sequence[str], lifetime: timedelta) -> AuthKey:
        await self._request()
        value = f"key-{len(self.keys)}"
        self.keys[value] = list(tags)
        return AuthKey(value, value, datetime.now(UTC) + lifetime)

    async def peers(self) -> tuple[Peer, ...]:
        await self._request()
        return tuple(self.joined.values())

    async def remove(self, peer: Peer) -> None:
        await self._request()
        self.joined.pop(peer.id, None)

    async def _request(self) -> None:
        self.requests += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    def join(self, key: str, hostname: str, owner: str = USER) -> str:
        """A peer joins with a key, once."""
        tags = tuple(self.keys.pop(key))
        name = f"peer-{len(self.joined)}-{hostname}"
        self.joined[name] = Peer(name, hostname, tags, owner, datetime.now(UTC))
        self.most_peers = max(self.most_peers, len(self.joined))
        return name


@dataclass
class World:
    """Agents with pods and Secrets, and the operator's keeper of their peers."""

    control: Control = field(default_factory=Control)
    indexes: dict[str, dict[str, list[Any]]] = field(
        default_factory=lambda: {
            "orgs": {"guildnet-org": [ORG]},
            "secrets": {"mesh": [SECRET]},
            "agent_tasks": {},
            "dependents": {},
            "pods": {},
            "children": {},
        }
    )
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    queued: list[str] = field(default_factory=list)
    internal_errors: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another operator, which knows only what is in the cluster."""

        async def connect(*_: Any) -> tuple[Control, str]:
            return self.control, USER

        cache = Cache(self.indexes)
        client: Any = self
        self.keeper = MeshKeeper(client, connect, cache, self.queued.append, self._note)

    def _note(self) -> None:
        self.internal_errors += 1

    async def patch(self, _: Any, name: str, body: dict[str, Any], *__: Any, **___: Any) -> Any:
        self.version += 1
        meta = self.secrets[name]["metadata"]
        meta["annotations"] = {**meta.get("annotations", {}), **body["metadata"]["annotations"]}
        meta["resourceVersion"] = str(self.version)
        self.secrets[name]["data"] = body["data"]
        found = child_view(self.secrets[name])
        assert found is not None
        self.indexes["children"][found.owner] = [found]
        return self.secrets[name]

    # --- what happens in the cluster ---------------------------------------------------------

    def add(self, name: str) -> None:
        task = TaskView(
            name, "agents", f"{name}-uid", 1, "1", datetime.now(UTC), "acme",
            {"run": 1}, {"run": 1, "attempt": 1, "start": 0},
        )  # fmt: skip
        self.indexes["agent_tasks"][name] = [task]
        owner = {"controller": True, "kind": "AgentTask", "uid": task.uid}
        meta = {
            "name": task.child_name, "uid": f"s-{name}", "ownerReferences": [owner],
            "labels": {"app.kubernetes.io/managed-by": "guildnet-operator",
                       "guildnet.io/task": name},
        }  # fmt: skip
        self.secrets[task.child_name] = {"kind": "Secret", "metadata": meta, "data": {}}

    def set_status(self, name: str, **status: Any) -> None:
        (task,) = self.indexes["agent_tasks"][name]
        self.indexes["agent_tasks"][name] = [replace(task, status={**task.status, **status})]

    def run_pod(self, name: str, pod: str = "", **container: Any) -> None:
        found = PodView(
            pod or f"pod-{name}", f"uid-{pod or name}", name, datetime.now(UTC), scheduled=True,
            containers=(ContainerView("mesh", **{"running": True, **container}),),
        )  # fmt: skip
        self.indexes["pods"][name] = [found]
        self.keeper.follow(self.observed(name)[0])

    def end_pod(self, name: str) -> None:
        """Its pod is gone, and no other is wanted."""
        self.indexes["pods"][name] = []
        self.keeper.follow(self.observed(name)[0])

    def join(self, name: str) -> str:
        """The pod's peer joins with the key in its Secret."""
        import base64

        (task,) = self.indexes["agent_tasks"][name]
        data = self.secrets[task.child_name]["data"]
        return self.control.join(base64.b64decode(data["mesh-auth-key"]).decode(), f"{name}-acme")

    # --- what the operator does --------------------------------------------------------------

    def observed(self, name: str, peer: MeshPeer | None = None) -> tuple[Observed, Plan]:
        (task,) = self.indexes["agent_tasks"][name]
        pods = tuple(self.indexes["pods"].get(name, ()))
        children = {c.kind: c for c in self.indexes["children"].get(task.uid, ())}
        agent = AgentView(pods[0].uid, AgentState(mesh=peer)) if pods and peer else None
        observed = Observed(
            task=task, org=ORG, now=datetime.now(UTC), admission=Admission(True), pods=pods,
            children=children, agent=agent, mesh=MeshView(),
        )  # fmt: skip
        return observed, Plan(task, ORG, "o", "w", "m")

    async def reconcile(
        self, name: str, peer: MeshPeer | None = None, *, wait: bool = True
    ) -> None:
        observed, plan = self.observed(name, peer)
        self.keeper.follow(observed)
        await self.keeper.provide_key(observed, plan, wait=wait)

    async def settled(self) -> None:
        """Wait until keys and removals under way are done."""
        before = -1
        while before != self.control.requests:
            before = self.control.requests
            await asyncio.sleep(0.02)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(keeper_module, "SETTLE_SECONDS", 0.001)
    return World()


@contextlib.asynccontextmanager
async def keeping(world: World) -> AsyncIterator[None]:
    running = asyncio.create_task(world.keeper.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


CONNECTED = MeshPeer("Running", "peer-0-a-acme", "a-acme", ("100.64.0.1",))


async def test_a_pod_finds_its_key_in_its_secret_and_gets_no_second_one(world: World) -> None:
    world.add("a")
    await world.reconcile("a")
    assert world.control.keys == {"key-0": ["tag:guildnet-acme"]}
    world.run_pod("a")
    world.join("a")
    world.set_status("a", start=1, pod="pod-a")
    requests = world.control.requests
    for _ in range(5):
        await world.reconcile("a")  # joined, but not reported yet
        await world.reconcile("a", CONNECTED)
    assert world.control.requests == requests, "I4: nothing changed"


async def test_200_tasks_in_a_row_leave_no_peer(world: World) -> None:
    async with keeping(world):
        for number in range(200):
            name = f"t{number}"
            world.add(name)
            await world.reconcile(name)
            world.run_pod(name)
            world.join(name)
            world.set_status(name, start=1, pod=f"pod-{name}")
            await world.reconcile(name)
            world.end_pod(name)
        await world.settled()
    assert world.control.joined == {}
    assert world.control.most_peers < 200
    assert world.control.requests <= 200 * 4 + 10


async def test_a_pod_that_has_not_come_yet_is_not_one_that_is_gone(world: World) -> None:
    async with keeping(world):
        world.add("a")
        await world.reconcile("a")
        requests = world.control.requests
        await world.reconcile("a")  # its Deployment has made no pod yet
        await world.settled()
    assert world.control.requests == requests


async def test_the_failure_of_an_ended_task_delays_no_other(world: World) -> None:
    world.control.error = MeshUnavailable("away")
    world.add("a")
    await world.reconcile("a")
    world.run_pod("a")
    await world.reconcile("a")
    world.end_pod("a")
    world.control.error = None
    world.add("b")
    await world.reconcile("b")
    assert len(world.control.keys) == 1, "its pod finds its key"


async def test_only_the_ended_pods_peer_is_removed(world: World) -> None:
    async with keeping(world):
        for name in ("a", "b"):
            world.add(name)
            await world.reconcile(name)
            world.run_pod(name)
        world.join("a")
        kept = world.join("b")
        world.end_pod("a")
        await world.settled()
    assert set(world.control.joined) == {kept}


async def test_a_deleted_tasks_peer_is_removed(world: World) -> None:
    async with keeping(world):
        world.add("a")
        await world.reconcile("a")
        world.run_pod("a")
        world.join("a")
        (task,) = world.indexes["agent_tasks"].pop("a")
        world.keeper.forget(task)
        await world.settled()
    assert world.control.joined == {}


async def test_after_a_crash_orphans_are_found_and_the_living_are_not(world: World) -> None:
    for name in ("a", "b", "c"):
        world.add(name)
        await world.reconcile(name)
        world.run_pod(name)
    world.join("a")
    kept = world.join("b")
    just_joined = world.join("c")
    old = datetime.now(UTC) - timedelta(hours=1)
    for each in ("peer-0-a-acme", kept):
        world.control.joined[each] = replace(world.control.joined[each], created_at=old)
    del world.indexes["agent_tasks"]["a"], world.indexes["pods"]["a"]
    # The watch has not shown this one's pod yet.
    del world.indexes["pods"]["c"]
    foreign = world.control.join("key-9", "a-acme", "someone") if world.control.keys else ""
    world.restart()
    async with keeping(world):
        world.keeper.wake()
        await world.settled()
    assert set(world.control.joined) == {kept, just_joined} | ({foreign} - {""})


async def test_a_pod_that_replaces_another_gets_a_key_of_its_own(world: World) -> None:
    """The earlier peer is removed first, so that the name is free."""
    world.add("a")
    await world.reconcile("a")
    world.run_pod("a")
    world.join("a")
    world.set_status("a", start=1, pod="pod-a")
    world.run_pod("a", pod="pod-b")
    await world.reconcile("a")
    await world.settled()
    assert world.control.joined == {}
    assert list(world.control.keys) == ["key-0"]
    assert world.join("a") in world.control.joined


async def test_a_key_that_ended_before_its_pod_was_up_is_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "LIFETIME", timedelta(minutes=-1))
    world.add("a")
    await world.reconcile("a")
    monkeypatch.undo()
    world.run_pod("a")
    observed, plan = world.observed("a")
    await world.keeper.provide_key(replace(observed, now=observed.now + timedelta(minutes=3)), plan)
    await world.settled()
    assert list(world.control.keys) == ["key-0", "key-1"]


async def test_a_refused_key_is_replaced_after_a_while(world: World) -> None:
    world.add("a")
    await world.reconcile("a")
    log = "backend error: authkey already used\n"
    world.run_pod("a", running=False, waiting="CrashLoopBackOff", last_message=log)
    world.set_status("a", start=1, pod="pod-a")
    await world.reconcile("a")
    await world.settled()
    assert list(world.control.keys) == ["key-0"]
    observed, plan = world.observed("a")
    await world.keeper.provide_key(replace(observed, now=observed.now + timedelta(minutes=3)), plan)
    await world.settled()
    assert list(world.control.keys) == ["key-0", "key-1"]


@pytest.mark.parametrize(
    ("error", "is_internal"),
    [
        (MeshUnavailable("no answer", place="POST https://hs.example"), False),
        (MeshRefused("401: Unauthorized", cure="store a new one"), False),
        (KeyError("a defect"), True),
    ],
)
async def test_a_broken_control_server_keeps_no_agent_from_its_work(
    world: World, error: Exception, is_internal: bool
) -> None:
    world.control.error = error
    world.add("a")
    await world.reconcile("a")  # raises nothing
    assert type(error).__name__ in world.keeper.key_error("a") or str(error) in (
        world.keeper.key_error("a")
    )
    assert world.queued == ["a"], "its status is written"
    assert bool(world.internal_errors) == is_internal
    requests = world.control.requests
    await world.reconcile("a")
    assert world.control.requests == requests, "not before the pause is over"
    world.control.error = None
    observed, plan = world.observed("a")
    await world.keeper.provide_key(replace(observed, now=observed.now + timedelta(minutes=2)), plan)
    await world.settled()
    assert world.keeper.key_error("a") == ""
    assert len(world.control.keys) == 1


async def test_a_control_server_that_hangs_delays_a_pod_by_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "WAIT_SECONDS", 0.05)
    world.control.hang = True
    world.add("a")
    async with asyncio.timeout(5):
        await world.reconcile("a")
        await world.reconcile("a")
    assert world.control.requests == 1


async def test_a_removal_that_fails_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "RETRY", replace(keeper_module.RETRY, first=timedelta()))
    async with keeping(world):
        world.add("a")
        await world.reconcile("a")
        world.run_pod("a")
        world.join("a")
        world.control.error = MeshUnavailable("away")
        world.end_pod("a")
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert world.control.joined
        world.control.error = None
        await world.settled()
    assert world.control.joined == {}


async def test_where_the_server_knows_no_users_only_reported_peers_are_removed(
    world: World,
) -> None:
    """Tailscale: a peer of the same name and tag may be another cluster's."""
    async with keeping(world):
        world.add("a")
        await world.reconcile("a")
        world.run_pod("a")
        world.join("a")
        (own,) = world.control.joined
        world.control.joined = {
            key: replace(peer, owner="", id=key)
            for key, peer in (
                (own, world.control.joined[own]), ("other", world.control.joined[own]),
            )
        }  # fmt: skip
        await world.reconcile("a", MeshPeer("Running", own, "a-acme", ("100.64.0.1",)))
        world.end_pod("a")
        await world.settled()
    assert set(world.control.joined) == {"other"}
