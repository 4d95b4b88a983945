"""Starts the operator: one namespace, one Lease, kopf's watches, a queue and its workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import kopf

from guildnet import labels
from guildnet.errors import KubeUnavailable
from guildnet.json_log import log_to_stderr
from guildnet.kube import KubeClient
from guildnet.kube.transport import RequestHook
from guildnet_operator.act import Actor
from guildnet_operator.agents.sessions import AgentSessions
from guildnet_operator.cache import Cache
from guildnet_operator.handlers import WATCHED, Handlers, register
from guildnet_operator.health import Health, serve_probes
from guildnet_operator.index import empty_indexes
from guildnet_operator.initial_list import InitialList
from guildnet_operator.internal_errors import describe_error
from guildnet_operator.leadership import Leadership
from guildnet_operator.login import login
from guildnet_operator.lookups.cluster_dns import ClusterDns, own_nameservers
from guildnet_operator.lookups.egress import Resolver, refresh
from guildnet_operator.lookups.limit_ranges import LimitRanges
from guildnet_operator.lookups.relays import Relays
from guildnet_operator.mesh.credentials import Credentials
from guildnet_operator.mesh.keeper import MeshKeeper
from guildnet_operator.metrics import Metrics
from guildnet_operator.observe import Observer
from guildnet_operator.reconcile import Reconciler
from guildnet_operator.settings import Settings
from guildnet_operator.work_queue import WorkQueue

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve until cancelled or stopped by a signal.

    Nothing is done before the namespace's Lease is acquired. Raises KubeUnavailable when the Lease
    is lost, and ConfigurationError for settings that lead to no cluster.
    """
    metrics = Metrics()
    async with connect(settings, metrics.requested) as client:
        leadership = Leadership(settings, client)
        log_to_stderr(logging.getLogger(), lambda: {"namespace": client.namespace}, logging.WARNING)
        logging.getLogger(__package__).setLevel(logging.INFO)
        health = Health(leadership.lease)
        async with serve_probes(health, metrics, settings.probes), leadership.renewing():
            if await leadership.acquire():
                operator = Operator(settings, client, leadership, metrics)
                await operator.serve(health)


def connect(settings: Settings, on_request: RequestHook) -> KubeClient:
    """A client of the settings' cluster."""
    if settings.kubeconfig is None:
        return KubeClient.from_incluster(namespace=settings.namespace, on_request=on_request)
    return KubeClient.from_kubeconfig(
        settings.kubeconfig,
        context=settings.context,
        namespace=settings.namespace,
        on_request=on_request,
    )


class Operator:
    """What runs while the Lease is held: kopf's watches, a queue, its workers."""

    def __init__(
        self, settings: Settings, client: KubeClient, leadership: Leadership, metrics: Metrics
    ) -> None:
        fenced = client.fenced_by(leadership.lease)
        self._settings = settings
        self._client = client
        self._leadership = leadership
        self._indexes = empty_indexes()
        self._cache, self._queue = Cache(self._indexes), WorkQueue()
        self._initial = InitialList(WATCHED)
        self._agents = AgentSessions(fenced, self._queue.put, metrics.internal_error)
        self._resolver = Resolver(settings.egress_refresh)
        # Outside a cluster, this machine's name servers are not those of agents' pods.
        own = own_nameservers() if settings.kubeconfig is None else ()
        self._dns = ClusterDns(client, settings.egress_refresh, own)
        self._mesh = MeshKeeper(
            fenced,
            Credentials(fenced).connect,
            self._cache,
            self._queue.put,
            metrics.internal_error,
        )
        observer = Observer(
            settings=settings,
            client=fenced,
            cache=self._cache,
            agents=self._agents,
            resolver=self._resolver,
            dns=self._dns,
            limit_ranges=LimitRanges(client, settings.egress_refresh),
            relays=Relays(settings.egress_refresh),
            mesh=self._mesh,
            queue=self._queue.put,
        )
        actor = Actor(fenced, self._cache, self._agents, self._mesh, metrics)
        self._reconciler = Reconciler(
            queue=self._queue,
            cache=self._cache,
            agents=self._agents,
            observer=observer,
            mesh=self._mesh,
            actor=actor,
            metrics=metrics,
        )
        metrics.watch("active", "AgentTasks that hold a slot", lambda: observer.slots.active)
        metrics.watch("queued", "AgentTasks that wait for a slot", lambda: observer.slots.waiting)
        metrics.watch("keys", "AgentTasks in the queue of the workers", lambda: len(self._queue))

    async def serve(self, health: Health) -> None:
        """Serve until stopped. Raises KubeUnavailable when the Lease is lost."""
        registry = kopf.OperatorRegistry()
        handlers = Handlers(self._indexes, self._cache, self._reconciler)
        register(registry, handlers, self._initial, health.object_reported, health.watch_reported)
        login(registry, self._settings)
        stop = asyncio.Event()
        tasks = self._start_tasks(stop)
        errors = _watched(tasks, stop)

        async def shut_down(**_: Any) -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._agents.close()

        # Before kopf's own shutdown, which waits for these tasks as if they were its own.
        kopf.on.cleanup(registry=registry)(shut_down)
        health.watches_started(self._initial.missing)
        try:
            await kopf.operator(
                registry=registry,
                settings=kopf_settings(),
                namespaces=[self._client.namespace],
                standalone=True,
                stop_flag=stop,
            )
        finally:
            await shut_down()
        for error in errors:
            raise error
        if self._leadership.lost.is_set():
            raise KubeUnavailable(
                "lost the Lease: another operator may be running in this namespace",
                place=f"Lease {labels.OPERATOR} in {self._client.namespace}",
                cure="run one operator for each namespace; its Deployment restarts this one",
                reason="LeaseNotHeld",
            )

    def _start_tasks(self, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        every = self._settings.egress_refresh

        async def work() -> None:
            await self._queue.run(self._reconciler.reconcile, self._settings.workers)

        async def lookups() -> None:
            await refresh(self._cache, self._resolver, self._dns, self._queue.put, every)

        return [
            asyncio.create_task(self._when_listed(work), name="workers"),
            asyncio.create_task(self._when_listed(lookups), name="egress lookups"),
            asyncio.create_task(self._when_listed(self._mesh.run), name="mesh upkeep"),
            asyncio.create_task(self._initial.follow(self._client), name="initial list"),
            asyncio.create_task(_stop_when_lost(self._leadership, stop), name="lease watch"),
        ]

    async def _when_listed(self, run: Callable[[], Awaitable[None]]) -> None:
        """Nothing is decided before the cache holds every object that exists."""
        await self._initial.wait()
        await run()


def _watched(tasks: Iterable[asyncio.Task[None]], stop: asyncio.Event) -> list[BaseException]:
    """Set `stop` when a task fails, and add its error to the returned list: an operator that
    cannot work must exit."""
    found: list[BaseException] = []

    def note(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("%s failed: %s", task.get_name(), describe_error(error), exc_info=error)
            found.append(error)
            stop.set()

    for task in tasks:
        task.add_done_callback(note)
    return found


async def _stop_when_lost(leadership: Leadership, stop: asyncio.Event) -> None:
    await leadership.lost.wait()
    stop.set()


def kopf_settings() -> kopf.OperatorSettings:
    """kopf watches and calls handlers; it writes nothing, scans nothing and logs little."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.chunk_size = 500
    # kopf has a task for each object, with its body, until the object is quiet for so long.
    settings.queueing.idle_timeout = 0.5
    settings.persistence.diffbase_storage = _NoDiffs()
    for name in ("kopf.objects", "kopf.activities", "kopf._core", "kopf._cogs", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return settings


class _NoDiffs(kopf.DiffBaseStorage):
    """No handler uses the difference from an object's last state: save the deep copy of each."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None: ...
