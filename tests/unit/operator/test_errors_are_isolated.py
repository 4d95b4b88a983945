"""Any error in the reconciliation of one AgentTask is in its status, and stops no other."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import guildnet_operator
from guildnet import conditions
from guildnet.agent_api.state import AgentState
from guildnet.backoff import Backoff
from guildnet.errors import KubeNotFound
from guildnet.kube import AGENT_TASKS
from guildnet.mesh import mesh_settings
from guildnet_operator import reconcile as reconcile_module
from guildnet_operator import work_queue as queue_module
from guildnet_operator.act import Actor
from guildnet_operator.agents import sessions as agents_module
from guildnet_operator.agents.sessions import AgentSessions
from guildnet_operator.cache import Cache
from guildnet_operator.index import INDEXES
from guildnet_operator.lookups.dns_servers import WELL_KNOWN
from guildnet_operator.lookups.egress import Resolver
from guildnet_operator.lookups.limit_ranges import LimitRanges
from guildnet_operator.lookups.relays import Relays
from guildnet_operator.mesh.control_server import AuthKey, ControlServer, Peer
from guildnet_operator.mesh.keeper import MeshKeeper
from guildnet_operator.metrics import Metrics
from guildnet_operator.observe import Observer
from guildnet_operator.reconcile import Reconciler
from guildnet_operator.settings import Settings
from guildnet_operator.views import (
    ContainerView,
    OrgSettings,
    PodView,
    SecretView,
    child_view,
    task_view,
)
from guildnet_operator.work_queue import WorkQueue

OWN_CODE = str(Path(guildnet_operator.__file__).parent)
#: An address, so that nothing resolves a name.
SERVER = "https://198.51.100.7"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
#: Frames that are resumed with the work on a task, and that the work itself cannot reach.
THE_WORKERS_OWN = (WorkQueue._serve.__code__, WorkQueue._attempt.__code__)
Site = tuple[CodeType, int, CodeType]
task_at_work: ContextVar[str] = ContextVar("task_at_work", default="")


class Planted(Exception):
    """An error of a type that the product does not know."""


@dataclass
class Cluster:
    """An API server, its watches, a kubelet and agents, all in memory."""

    queue: WorkQueue = field(default_factory=WorkQueue)
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    indexes: dict[str, dict[str, list[Any]]] = field(
        default_factory=lambda: {name: {} for name in INDEXES}
    )
    said: dict[str, set[str]] = field(default_factory=dict)
    version: int = 1
    states: dict[str, AgentState] = field(default_factory=dict)
    changed: dict[str, asyncio.Event] = field(default_factory=dict)

    def add(self, name: str, created: datetime, **spec: Any) -> None:
        meta = {
            "name": name,
            "namespace": "agents",
            "uid": f"{name * 5}-uid",
            "generation": 1,
            "creationTimestamp": created.isoformat(),
        }
        agent = {"command": ["true"]}
        self._store("AgentTask", {"metadata": meta, "spec": {"run": 1, "agent": agent, **spec}})

    def _store(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        name = body["metadata"]["name"]
        body["metadata"] |= {"resourceVersion": str(self.version)}
        self.objects[kind, name] = body
        if kind == "AgentTask":
            view = task_view(body)
            self.indexes["agent_tasks"][name] = [view]
            reasons = {c["reason"] for c in view.status.get("conditions", ())}
            self.said.setdefault(name, set()).update(reasons)
            self.queue.put(name)
            return body
        body["metadata"].setdefault("uid", f"uid-{kind}-{name}")
        child = child_view({"kind": kind, **body})
        assert child is not None
        others = [c for c in self.indexes["children"].get(child.owner, ()) if c.kind != kind]
        self.indexes["children"][child.owner] = [*others, child]
        if kind == "Deployment":
            self._run_pod(child.task, child.template)
        self.queue.put(child.task)
        return body

    def _run_pod(self, task: str, template: str) -> None:
        up = tuple(ContainerView(name, running=True, ready=True) for name in ("supervisor", "work"))
        pod = PodView(
            f"pod-{task}", f"uid-{task}", task, NOW, phase="Running", node="n", template=template,
            scheduled=True, containers=up,
        )  # fmt: skip
        self.indexes["pods"][task] = [pod]

    # --- the client -------------------------------------------------------------------------

    async def apply(self, obj: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._store(obj["kind"], obj)

    async def create(self, obj: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._store(obj["kind"], obj)

    async def patch(
        self, kind: Any, name: str, body: dict[str, Any], *_: Any, **__: Any
    ) -> dict[str, Any]:
        found = self.objects[kind.kind, name]
        if kind is not AGENT_TASKS:
            return found
        status = {**found.get("status", {}), **body["status"]}
        status = {key: value for key, value in status.items() if value is not None}
        return self._store("AgentTask", {**found, "status": status})

    async def get(self, kind: Any, name: str, *_: Any, **__: Any) -> dict[str, Any]:
        if (kind.kind, name) not in self.objects:
            raise KubeNotFound(name)
        return self.objects[kind.kind, name]

    async def list_all(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return []

    async def create_event(self, *_: Any, **__: Any) -> None: ...

    # --- the agents' API --------------------------------------------------------------------

    async def state(self, address: Any, etag: str | None, **_: Any) -> tuple[AgentState, str]:
        found = self.states.setdefault(address.pod, AgentState())
        if etag == repr(found):
            await self.changed.setdefault(address.pod, asyncio.Event()).wait()
        found = self.states[address.pod]
        return found, repr(found)

    async def start(self, address: Any, triple: tuple[int, int, int], *_: Any) -> AgentState:
        run, attempt, start = triple
        self.states[address.pod] = AgentState(run, attempt, start, step="Running")
        self.changed.pop(address.pod, asyncio.Event()).set()
        return self.states[address.pod]

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        status = self.objects["AgentTask", name].get("status", {})
        found = conditions.find(status.get("conditions", ()), kind)
        return (found["status"], found["reason"]) if found else ("", "")


class Control:
    """A control server that makes keys and has no peers."""

    async def make_key(self, hostname: str, tags: Any, lifetime: timedelta) -> AuthKey:
        return AuthKey("1", "key", datetime.now(UTC) + lifetime)

    async def peers(self) -> tuple[Peer, ...]:
        return ()

    async def remove(self, peer: Peer) -> None: ...


class Dns:
    async def servers(self) -> Any:
        return WELL_KNOWN


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = timedelta(milliseconds=1)
    monkeypatch.setattr(queue_module, "RETRY", Backoff(moment, moment * 100))
    monkeypatch.setattr(reconcile_module, "_SOON", moment)
    monkeypatch.setattr(agents_module, "RETRY", Backoff(moment, moment * 100))


@contextlib.asynccontextmanager
async def operated(cluster: Cluster, metrics: Metrics) -> Any:
    """The operator's workers, without watches and without a server."""
    cache, queue = Cache(cluster.indexes), cluster.queue
    client: Any = cluster
    agents = AgentSessions(client, queue.put, metrics.internal_error)
    agents.api = client
    dns: Any = Dns()

    async def connect(*_: Any) -> tuple[ControlServer, str]:
        return Control(), "user"

    mesh = MeshKeeper(client, connect, cache, queue.put, metrics.internal_error)
    observer = Observer(
        settings=Settings(),
        client=client,
        cache=cache,
        agents=agents,
        resolver=Resolver(timedelta(minutes=5)),
        dns=dns,
        limit_ranges=LimitRanges(client, timedelta(minutes=5)),
        relays=Relays(timedelta(minutes=5)),
        mesh=mesh,
        queue=queue.put,
    )
    reconciler = Reconciler(
        queue=queue,
        cache=cache,
        agents=agents,
        observer=observer,
        mesh=mesh,
        actor=Actor(client, cache, agents, mesh, metrics),
        metrics=metrics,
    )

    async def work(name: str) -> None:
        task_at_work.set(name)
        try:
            await reconciler.reconcile(name)
        finally:
            task_at_work.set("")

    workers = asyncio.create_task(queue.run(work, 2))
    try:
        yield
        assert not workers.done()
    finally:
        workers.cancel()
        await asyncio.gather(workers, return_exceptions=True)
        await agents.close()


def three_tasks() -> Cluster:
    """Two may run at once; the third waits."""
    cluster = Cluster()
    mesh = mesh_settings("acme", {"mode": "tailscale", "apiSecret": "mesh", "loginServer": SERVER})
    org = OrgSettings("acme", max_active=2, egress=(), mesh=mesh)
    cluster.indexes["orgs"]["guildnet-org"] = [org]
    secret = SecretView("mesh", "mesh", ("198.51.100.7",), frozenset({"api-key"}))
    cluster.indexes["secrets"]["mesh"] = [secret]
    for minute, name in enumerate("abc"):
        cluster.add(name, NOW + timedelta(minutes=minute))
    return cluster


async def come_to_rest(cluster: Cluster) -> None:
    """Wait until two run and the third waits. Raises AssertionError if that does not happen."""
    wanted = [("True", "AgentServing"), ("True", "AgentServing"), ("False", "Provisioning")]
    found: Any = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while found != wanted:
                await asyncio.sleep(0.001)
                found = [cluster.condition(name, conditions.READY) for name in "abc"]
    assert found == wanted
    assert cluster.condition("c", conditions.SCHEDULED) == ("False", "Queued")


@contextlib.contextmanager
def tracing(planted: Site | None, seen: dict[Site, None]) -> Iterator[None]:
    """Record each call in the operator's code for task `a`, and raise at `planted`."""
    done: list[Site] = []

    def trace(frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(OWN_CODE):
            return
        if task_at_work.get() != "a" or frame.f_back is None or frame.f_code in THE_WORKERS_OWN:
            return
        site = (frame.f_back.f_code, frame.f_back.f_lineno, frame.f_code)
        seen[site] = None
        if site == planted and not done:
            done.append(site)
            sys.settrace(None)
            raise Planted("half a pair \ud800 of https://user:pa55w0rd@git.example")

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def internal_errors(metrics: Metrics) -> float:
    name = b"guildnet_operator_internal_errors_total "
    lines = metrics.exposition().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1])


# An error between the making of a coroutine and its first step leaves it unawaited.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_error_at_any_call_stops_no_other_task(no_pauses: None) -> None:
    sites: dict[Site, None] = {}
    with tracing(None, sites):
        cluster = three_tasks()
        async with operated(cluster, Metrics()):
            await come_to_rest(cluster)
    assert len(sites) > 150
    unreported = 0
    for site in sites:
        cluster, metrics = three_tasks(), Metrics()
        with tracing(site, {}):
            async with operated(cluster, metrics):
                await come_to_rest(cluster)
        assert not {"InternalError"} & (cluster.said["b"] | cluster.said["c"])
        if "InternalError" in cluster.said["a"]:
            assert internal_errors(metrics) == 1
        else:
            unreported += not internal_errors(metrics)
        text = str(cluster.objects["AgentTask", "a"])
        assert "pa55w0rd" not in text
        text.encode()
    # An error before the reconciliation starts, or that a step expects.
    assert unreported < len(sites) // 10


async def test_a_url_that_cannot_be_read_is_refused_and_takes_no_slot_from_others(
    no_pauses: None,
) -> None:
    """After a restart each slot must be counted, even if another task cannot be judged."""
    cluster, metrics = three_tasks(), Metrics()
    for name, url in (("x", "https://[::1/x.git"), ("y", "https://[foo]/"), ("z", "https://h℀/")):
        git = {"url": url, "secret": "forge"}
        cluster.add(name, NOW - timedelta(hours=1), context=[{"name": "web", "git": git}])
    async with operated(cluster, metrics):
        await come_to_rest(cluster)
    for name in "xyz":
        assert cluster.condition(name, conditions.ACCEPTED) == ("False", "InvalidSpec")
    assert internal_errors(metrics) == 0


async def test_a_task_that_always_fails_is_stalled_and_retried(
    no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, metrics = three_tasks(), Metrics()
    cluster.add("x", NOW - timedelta(hours=1))
    real = Observer._candidate_of

    def in_line(self: Observer, task: Any) -> Any:
        if task.name == "x":
            raise Planted("again and again")
        return real(self, task)

    monkeypatch.setattr(Observer, "_candidate_of", in_line)
    async with operated(cluster, metrics):
        await come_to_rest(cluster)
        async with asyncio.timeout(10):
            while internal_errors(metrics) < 3:  # noqa: ASYNC110  metrics have no event
                await asyncio.sleep(0.001)
    status = cluster.objects["AgentTask", "x"]["status"]
    stalled = conditions.find(status["conditions"], conditions.STALLED)
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", "InternalError")
    assert "Planted at " in stalled["message"]
    assert "again and again" in stalled["message"]
