"""Wires the operator: one namespace, one Lease, kopf's watches, a queue and its workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import kopf

from guildnet import labels
from guildnet.errors import KubeUnavailable
from guildnet.kube import KubeClient, Lease
from guildnet_operator.act import Actor
from guildnet_operator.agents import Agents
from guildnet_operator.handlers import register
from guildnet_operator.login import login
from guildnet_operator.observe import Observer
from guildnet_operator.reconcile import Reconciler
from guildnet_operator.settings import Settings
from guildnet_operator.work_queue import WorkQueue
from guildnet_operator.world import World

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve until cancelled or told by a signal to stop.

    Waits for the namespace's Lease before anything is done. Raises KubeUnavailable when it is
    lost, ConfigurationError when the cluster cannot be spoken to as given.
    """
    async with connect(settings) as client, _leading(settings, client) as leadership:
        await _serve(settings, client, leadership)


def connect(settings: Settings) -> KubeClient:
    """A client of the cluster that the settings name."""
    if settings.kubeconfig is None:
        return KubeClient.from_incluster(namespace=settings.namespace)
    return KubeClient.from_kubeconfig(
        settings.kubeconfig, context=settings.context, namespace=settings.namespace
    )


@contextlib.asynccontextmanager
async def _leading(settings: Settings, client: KubeClient) -> AsyncIterator[Leadership]:
    leadership = Leadership(settings, client)
    renewing = asyncio.create_task(leadership.lease.run(), name="lease")
    try:
        logger.info("waiting for the Lease of namespace %s", client.namespace)
        await leadership.lease.wait_held()
        logger.info("working on the AgentTasks of namespace %s", client.namespace)
        yield leadership
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


class Leadership:
    """The Lease, and the flag that is set when it is lost."""

    def __init__(self, settings: Settings, client: KubeClient) -> None:
        self.lost = asyncio.Event()
        self._was_held = False
        self.lease = Lease(client, labels.OPERATOR, settings.holder, on_held=self._on_held)

    def _on_held(self, held: bool) -> None:
        if self._was_held and not held:
            self.lost.set()
        self._was_held = self._was_held or held


async def _serve(settings: Settings, client: KubeClient, leadership: Leadership) -> None:
    fenced = client.fenced_by(leadership.lease)
    world, queue = World(), WorkQueue()
    agents = Agents(fenced, queue.put)
    observer = Observer(settings, fenced, world, agents, queue.put)
    reconciler = Reconciler(queue, world, agents, observer, Actor(fenced, world, agents))
    registry = kopf.OperatorRegistry()
    register(registry, world, reconciler)
    login(registry, settings)
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(queue.run(reconciler.reconcile, settings.workers), name="workers"),
        asyncio.create_task(_end_when_lost(leadership, stop), name="lease watch"),
    ]

    async def end(**_: Any) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await agents.close()

    # Before kopf's own end: it would wait for these tasks as if they were its own, forgotten.
    kopf.on.cleanup(registry=registry)(end)
    try:
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            namespaces=[client.namespace],
            standalone=True,
            liveness_endpoint=settings.liveness,
            stop_flag=stop,
        )
    finally:
        await end()
    if leadership.lost.is_set():
        raise KubeUnavailable(
            "the Lease was lost: another operator may be at work in this namespace",
            place=f"Lease {labels.OPERATOR} in {client.namespace}",
            cure="run one operator for each namespace; its Deployment starts it again",
            reason="LeaseNotHeld",
        )


async def _end_when_lost(leadership: Leadership, stop: asyncio.Event) -> None:
    await leadership.lost.wait()
    stop.set()


def kopf_settings() -> kopf.OperatorSettings:
    """kopf watches and calls; it writes nothing, scans nothing and says little."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.chunk_size = 500
    for name in ("kopf.objects", "kopf.activities", "kopf._core", "kopf._cogs", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return settings
