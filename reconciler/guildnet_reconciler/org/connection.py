"""One org's cluster while we work with it: its client, its Lease, its AgentTasks as watched.

Opened for one location and closed when the org moves. It decides nothing: what it observes goes to
`Watcher`, and writes go through `client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

from guildnet import labels
from guildnet.errors import ConfigurationError, KubeError
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS, KubeClient, Lease, list_and_watch
from guildnet.kube.api_errors import OVERLOADED
from guildnet.record import reported
from guildnet.redact import Redactor
from guildnet.resources import ClusterRef
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.faults import Fault, Firewall, pass_on_requested_end
from guildnet_reconciler.org.claim_identity import data_of, objection
from guildnet_reconciler.org.kubeconfig_file import KubeconfigSource
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.steps.observe import Inventory, ObservedTask, observe

log = logging.getLogger(__name__)

# The parts of an org's work that run beside its passes.
LEASE, WATCH = "Lease", "watch"
HELD_POLL_SECONDS = 0.5
AGAIN_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0

T = TypeVar("T")


class Watcher(Protocol):
    """Handles what happens in the cluster; every call is made on the event loop and is short."""

    firewall: Firewall

    def observed_changed(
        self, obj: dict[str, Any], task: ObservedTask, before: ObservedTask | None
    ) -> None:
        """An AgentTask exists or has changed."""
        ...

    def observed_gone(self, task: ObservedTask) -> None:
        """An AgentTask is gone."""
        ...

    def refusals_changed(self) -> None:
        """The set of AgentTasks that are not accepted, or not wholly, has changed."""
        ...

    def liveness_changed(self, error: KubeError | None) -> None:
        """The API server did not answer, or (None) answers again."""
        ...

    def resync(self) -> None:
        """The Lease or the first list has arrived: a waiting pass can continue."""
        ...

    def lease_acquired(self, *, is_first: bool) -> None:
        """A term of the Lease started, and the org's records have been read again."""
        ...

    def lease_lost(self) -> None:
        """Another process may work on the org from now on."""
        ...


class OrgConnection:
    """A client that writes only while the org's Lease is held, and what it watches."""

    def __init__(
        self,
        org: str,
        location: ClusterRef,
        client: KubeClient,
        lease_client: KubeClient,
        *,
        capacity: Capacity,
        source: KubeconfigSource,
    ) -> None:
        self.org = org
        self.location = location
        self.inventory = Inventory()
        self.lease: Lease | None = None
        self.synced = False
        self.is_closing = False
        self.claimed_by_others: Fault | None = None
        self._silence: KubeError | None = None
        self._disruption: KubeError | None = None
        self._reader = client
        self._lease_client = lease_client
        self._capacity = capacity
        self._source = source
        self._gained = asyncio.Event()
        self._leasing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    def open(
        cls,
        settings: Settings,
        capacity: Capacity,
        org: str,
        location: ClusterRef,
        on_request: Callable[[str, int], None],
    ) -> OrgConnection:
        """Raises ConfigurationError for a kubeconfig that is missing, not granted, or unfit."""
        kubeconfig, namespace = location.kubeconfig, location.namespace
        if not settings.may_use(org, kubeconfig, namespace):
            raise ConfigurationError(
                f"org {org!r} may not use the kubeconfig {kubeconfig!r} for the namespace "
                f"{namespace!r}",
                place=f"orgs/{org}.yaml",
                cure=f"name its own, {org!r}, or start the reconciler with "
                f"--grant {kubeconfig}={org}:{namespace}",
            )
        source = KubeconfigSource.of(settings, org, location.kubeconfig)
        # The Lease has separate connections and a separate thread: passes cannot delay it.
        client, lease_client = (
            connections.client(
                source.path,
                flow=org,
                context=location.context if source.path else None,
                namespace=location.namespace,
                on_request=hook,
            )
            for connections, hook in (
                (capacity.connections, on_request),
                (capacity.leases.connections, None),
            )
        )
        return cls(org, location, client, lease_client, capacity=capacity, source=source)

    @property
    def is_outdated(self) -> bool:
        """Whether the kubeconfig has been replaced or removed since it was opened."""
        return self._source.is_outdated

    @property
    def credential_ends(self) -> datetime | None:
        """When the first of its certificates and its token expires, if anything says so."""
        return self._reader.credential_ends

    @property
    def client(self) -> KubeClient:
        """The client; once `start` was called its writes are fenced by the Lease."""
        return self._reader.fenced_by(self.lease) if self.lease else self._reader

    @property
    def problem(self) -> KubeError | None:
        """Why the cluster cannot be used now: a request for the Lease or the watch got no answer,
        or was refused."""
        return self._silence or self._disruption

    @property
    def is_left_to_others(self) -> bool:
        """Whether another replica may hold the Lease, and reports on the org."""
        return not self.held and self.problem is None and self.claimed_by_others is None

    @property
    def place(self) -> str:
        return self._reader.place

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._reader.server

    @property
    def redact(self) -> Redactor:
        """Masks the org's credentials."""
        return self._reader.redact

    async def start(
        self, settings: Settings, watcher: Watcher, identity: Mapping[str, str]
    ) -> None:
        """Try to hold the Lease until `close`, unless another claimant than `identity` owns the
        namespace (see `claim_identity.objection`): its Lease is never touched."""
        loop = asyncio.get_running_loop()

        def on_claim(fault: Fault | None) -> None:
            is_news, self.claimed_by_others = fault != self.claimed_by_others, fault
            if fault is not None:
                self._gained.set()  # end the wait for a Lease that we will not get
            if is_news:
                watcher.resync()

        async def may_acquire() -> bool:
            found = await self._lease_client.find(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
            fault = found and objection(data_of(found), identity, self.location.namespace)
            _call_soon(loop, on_claim, fault or None)
            return not fault

        def reported(call: Callable[[T], None]) -> Callable[[T], None]:
            """Calls it on the event loop of the passes; what it raises is the org's defect."""

            def guarded(value: T) -> None:
                with watcher.firewall.around(LEASE):
                    call(value)

            return lambda value: _call_soon(loop, guarded, value)

        def on_held(held: bool) -> None:
            if held:
                self._gained.set()
                watcher.resync()
            else:
                watcher.lease_lost()

        def on_liveness(error: KubeError | None) -> None:
            if error is not None and error.reason == OVERLOADED:
                log.warning("the Lease: %s", error, extra={"org": self.org})
                return
            self._silence = error
            watcher.liveness_changed(error)

        def note(error: BaseException) -> None:
            _call_soon(loop, lambda raised: watcher.firewall.note(LEASE, raised), error)

        self.lease = Lease(
            self._lease_client,
            labels.RECONCILER,
            settings.holder_for(self.org),
            namespace=self.location.namespace,
            on_held=reported(on_held),
            on_liveness=reported(on_liveness),
            may_renew=self._capacity.is_alive,
            may_acquire=may_acquire,
        )
        leases = self._capacity.leases
        self._leasing = await leases.spawn(self._kept_up(self.lease.run, note))

    async def watch(self, watcher: Watcher) -> None:
        """List all AgentTasks, reporting each of them, and watch from there."""
        await _ended(self._watching)
        self.synced, self._disruption = False, None
        work = self._kept_up(lambda: self._watch(watcher), partial(watcher.firewall.note, WATCH))
        self._watching = asyncio.create_task(work, name=f"org {self.org} watch")

    async def _kept_up(
        self, work: Callable[[], Awaitable[None]], note: Callable[[BaseException], None]
    ) -> None:
        """Run it until cancelled, and again after a defect: an org whose Lease or watch has ended
        would never make another pass."""
        pause = AGAIN_SECONDS
        while True:
            began = time.monotonic()
            try:
                await work()
            except BaseException as error:
                pass_on_requested_end(error)
                note(error)
            worked = time.monotonic() - began > MAX_PAUSE_SECONDS
            pause = AGAIN_SECONDS if worked else min(pause * 2, MAX_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    @property
    def held(self) -> bool:
        return self.lease is not None and self.lease.held

    async def wait_held(self, timeout: timedelta) -> bool:
        """Whether the Lease is held, waiting at most `timeout`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self._silence else timeout.total_seconds()):
                while not self.held and self.claimed_by_others is None:
                    self._gained.clear()
                    # The event only makes it quick: what counts is the Lease's own clock.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HELD_POLL_SECONDS):
                            await self._gained.wait()
        return self.held

    async def wait_synced(self, timeout: timedelta) -> bool:
        """Whether all that exists is known and the Lease held still, waiting at most `timeout`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout.total_seconds()):
                while not self.synced and self.problem is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        return self.held and self.synced

    async def _watch(self, watcher: Watcher) -> None:
        events = list_and_watch(
            self._reader, AGENT_TASKS, lambda obj: obj, namespace=self.location.namespace
        )
        listed: set[str] = set()
        self.synced = False
        async for event in events:
            if not self.synced:
                listed.add(event.name)
            match event.type:
                case "ADDED" | "MODIFIED":
                    self._recover(watcher)
                    assert event.value is not None
                    self.take(event.value, watcher)
                case "DELETED":
                    gone = self.inventory.drop(event.name, event.uid)
                    if gone is not None:
                        watcher.observed_gone(gone)
                case "SYNCED":
                    if not self.synced:
                        self._drop_all_but(listed, watcher)
                    self.synced = True
                    watcher.firewall.settle(WATCH)
                    self._recover(watcher)
                    watcher.resync()
                case "DISRUPTED" if event.error and event.error.reason == OVERLOADED:
                    log.warning("the watch: %s", event.error, extra={"org": self.org})
                case "DISRUPTED":
                    self._disruption = event.error
                    watcher.liveness_changed(event.error)

    def _drop_all_but(self, listed: set[str], watcher: Watcher) -> None:
        """Report AgentTasks that were deleted while the watch was interrupted."""
        for name in self.inventory.tasks.keys() - listed:
            gone = self.inventory.drop(name, "")
            if gone is not None:
                watcher.observed_gone(gone)

    def _recover(self, watcher: Watcher) -> None:
        if self._disruption is not None:
            self._disruption = None
            watcher.liveness_changed(None)

    def report_again(self, objects: Iterable[dict[str, Any]], watcher: Watcher) -> None:
        """Report AgentTasks that were seen without the Lease, where they are still there."""
        for obj in objects:
            task = self.inventory.tasks.get(obj["metadata"]["name"])
            if task is not None and task.uid == obj["metadata"]["uid"]:
                watcher.observed_changed(obj, task, None)

    def take(self, obj: dict[str, Any], watcher: Watcher) -> None:
        """Store an AgentTask, from the watch or from the answer to a write.

        One that is malformed is refused and reported; it does not end the watch.
        """
        name = str(obj["metadata"]["name"])
        try:
            obj, problems = reported(obj)
            if self._is_known(obj["metadata"]):
                return
            task = observe(obj, self.org)
        except ValueError as error:
            self._refuse(name, str(error), watcher)
            return
        self._refuse(name, "; ".join(problems[:3]) or None, watcher)
        before = self.inventory.put(task)
        watcher.observed_changed(obj, task, before)

    def _refuse(self, name: str, why: str | None, watcher: Watcher) -> None:
        before = len(self.inventory.refused)
        self.inventory.refuse(name, why)
        if before != len(self.inventory.refused):
            watcher.refusals_changed()

    def _is_known(self, meta: dict[str, Any]) -> bool:
        """Every write of ours is reported twice, by its answer and by the watch, in either
        order."""
        known = self.inventory.tasks.get(meta["name"])
        return (
            self.synced
            and known is not None
            and known.uid == meta["uid"]
            and not _is_newer(meta["resourceVersion"], known.resource_version)
        )

    async def close(self) -> None:
        """End watch and Lease (it is released) and close the connections."""
        self.is_closing = True
        try:
            await asyncio.gather(self._end_lease(), _ended(self._watching))
        finally:
            await self._reader.close()

    async def _end_lease(self) -> None:
        leases = self._capacity.leases
        if self._leasing is not None:
            await leases.end(self._leasing)
            await leases.run(self._lease_client.close())
        else:
            await self._lease_client.close()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[T], None], value: T) -> None:
    """Call it on the event loop of the passes, from the thread of the Leases."""
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(call, value)


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _is_newer(version: str, known: str) -> bool:
    try:
        return int(version) > int(known)
    except ValueError:
        return version != known
