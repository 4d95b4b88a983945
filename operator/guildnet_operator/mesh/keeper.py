"""Makes a key for each agent's pod, and removes the peers of pods that are gone.

What it does not know after a restart is on the control server: peers are found by their user and
tag, compared with the agents that have a pod, and removed. While no pod comes or goes it asks the
control server every 10 min at most.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from guildnet import labels
from guildnet.backoff import Backoff
from guildnet.errors import GuildNetError
from guildnet.kube import SECRETS, KubeClient
from guildnet.mesh import MeshSettings, peer_name
from guildnet_operator.cache import Cache
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.internal_errors import describe_error
from guildnet_operator.manifests import Plan
from guildnet_operator.manifests.mesh import MESH_KEY as SECRET_KEY
from guildnet_operator.mesh.control_server import AuthKey, ControlServer
from guildnet_operator.mesh.keys import LIFETIME, needs_key
from guildnet_operator.mesh.ownership import UNSEEN_FOR, Owner, without_pod
from guildnet_operator.references import mesh_refusal
from guildnet_operator.views import MESH_KEY, MeshKeyView, OrgSettings, TaskView

logger = logging.getLogger(__name__)

RETRY = Backoff(timedelta(seconds=5), timedelta(minutes=1))
#: How long a new pod waits for its key; it can also come later.
WAIT_SECONDS = 2.0
#: Pods that end together are dealt with together.
SETTLE_SECONDS = 0.5
_REFRESH = timedelta(minutes=10)
_AT_ONCE = 8  # requests to the control server


#: Gives (the control server of an org, the org's user on it). Raises KubeError and MeshError.
Connect = Callable[[OrgSettings, MeshSettings], Awaitable[tuple[ControlServer, str]]]


class MeshKeeper:
    """The peers of one org's agents. `queue` gets the name of an AgentTask whose key was made, or
    could not be made."""

    def __init__(
        self,
        client: KubeClient,
        connect: Connect,
        cache: Cache,
        queue: Callable[[str], None],
        on_internal_error: Callable[[], None],
    ) -> None:
        self._client = client
        self._cache = cache
        self._queue = queue
        self._on_internal_error = on_internal_error
        self._connector = connect
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._wake = asyncio.Event()
        self._is_seeded = False
        # Of each AgentTask that has a pod or is about to, the hostname of its peer; the names of
        # those that have one; the hostnames of those that had one.
        self._live: dict[str, str] = {}
        self._with_pod: set[str] = set()
        self._ended: set[str] = set()
        self._ids: dict[str, str] = {}  # of each hostname, its peer as the agent reports it
        # Of each AgentTask: the key in the making; why it could not be made, how often, and when
        # to try again.
        self._making: dict[str, asyncio.Task[None]] = {}
        self._errors: dict[str, str] = {}
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, datetime] = {}

    def key_error(self, name: str) -> str:
        """Why the last try to make a key for this AgentTask failed; empty if it did not."""
        return self._errors.get(name, "")

    # --- the agents that have a peer --------------------------------------------------------

    def follow(self, o: Observed) -> None:
        """Note whether the AgentTask has a pod; without one, its peer is removed."""
        if o.mesh is None:
            return
        name, hostname = o.task.name, _hostname(o.task, o.org)
        reported = o.agent_state.mesh if o.agent_state is not None else None
        recorded = ((o.status.get("editor") or {}).get("mesh") or {}).get("id")
        peer = (reported.id if reported is not None else "") or recorded
        if peer:
            self._ids[hostname] = str(peer)
        if o.pods_left:
            self._live[name] = hostname
            self._with_pod.add(name)
        elif name in self._with_pod or recorded:
            self._end(name, hostname)

    def forget(self, task: TaskView) -> None:
        """The AgentTask is deleted."""
        self._end(task.name, self._live.get(task.name, ""))
        making = self._making.pop(task.name, None)
        if making is not None:
            making.cancel()

    def _end(self, name: str, hostname: str) -> None:
        self._live.pop(name, None)
        self._with_pod.discard(name)
        for known in (self._errors, self._failures, self._retry_at):
            known.pop(name, None)
        if hostname:
            self._ended.add(hostname)
            self.wake()

    # --- keys ---------------------------------------------------------------------------------

    async def provide_key(self, o: Observed, plan: Plan, *, wait: bool = False) -> None:
        """Make a key for the agent's pod if it needs one; `wait` for it, but not for long."""
        mesh, name = plan.mesh, o.task.name
        if mesh is None or not mesh.api_secret or not needs_key(o):
            return
        making = self._making.get(name)
        if making is None:
            if o.now < self._retry_at.get(name, o.now):
                return
            self._live[name] = _hostname(o.task, o.org)
            making = asyncio.create_task(self._make_key(o, plan), name=f"mesh key of {name}")
            self._making[name] = making
            making.add_done_callback(lambda _: self._making.pop(name, None))
        if wait and not self._failures:
            await asyncio.wait([making], timeout=WAIT_SECONDS)

    async def _make_key(self, o: Observed, plan: Plan) -> None:
        name = o.task.name
        try:
            async with self._turns:
                key = await self._exchange_key(o)
            await self._store_key(o, plan, key)
        # A mesh that is broken in any way keeps no agent from its work.
        except Exception as error:
            self._failed(name, error)
            return
        self._failures.pop(name, None)
        self._retry_at.pop(name, None)
        if self._errors.pop(name, None) is not None:
            self._queue(name)
        # If the pod has not joined by then, it needs another.
        delay = (key.expires_at - datetime.now(UTC)).total_seconds() + 1
        asyncio.get_running_loop().call_later(max(1.0, delay), self._queue, name)

    async def _exchange_key(self, o: Observed) -> AuthKey:
        """A new key; the peer of an earlier pod of the AgentTask is removed first, for its name."""
        server, owner = await self._connect(o.org)
        hostname = _hostname(o.task, o.org)
        for peer in await server.peers():
            if peer.hostname == hostname and owner.owns(peer):
                await server.remove(peer)
        assert o.org.mesh is not None
        return await server.make_key(hostname, o.org.mesh.tags, LIFETIME)

    async def _store_key(self, o: Observed, plan: Plan, key: AuthKey) -> None:
        made = MeshKeyView(key.id, o.triple, datetime.now(UTC), key.expires_at)
        metadata: dict[str, Any] = {"annotations": {MESH_KEY: made.to_annotation()}}
        secret = self._cache.children(o.task.uid).get("Secret")
        if secret is not None:
            metadata["uid"] = secret.uid
        data = {SECRET_KEY: base64.b64encode(key.value.encode()).decode()}
        written = await self._client.patch(
            SECRETS,
            plan.name,
            {"metadata": metadata, "data": data},
            o.task.namespace,
            field_manager=labels.OPERATOR,
        )
        self._cache.wrote_child({"apiVersion": "v1", "kind": "Secret", **written})

    def _failed(self, name: str, error: Exception) -> None:
        text = self._described(error)
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        pause = RETRY.pause(failures)
        self._retry_at[name] = datetime.now(UTC) + pause
        if self._errors.get(name) != text:
            logger.warning("cannot make a key for the mesh: %s", text, extra={"task": name})
            self._errors[name] = text
            self._queue(name)
        asyncio.get_running_loop().call_later(pause.total_seconds(), self._queue, name)

    # --- orphans ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look for peers without a pod soon."""
        self._wake.set()

    async def run(self) -> None:
        """Remove the peers of pods that are gone. Runs until cancelled."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(_REFRESH.total_seconds() if self._live else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(SETTLE_SECONDS)
            self._wake.clear()
            try:
                await self._remove_orphans()
                failures = 0
            except Exception as error:
                failures += 1
                text = self._described(error)
                logger.warning("cannot remove peers from the mesh; trying again: %s", text)
                await asyncio.sleep(RETRY.pause(failures).total_seconds())
                self._wake.set()

    async def _remove_orphans(self) -> None:
        org = self._cache.org()
        if org.mesh is None or not org.mesh.api_secret:
            return
        if mesh_refusal(org.mesh, org.org, self._cache.secrets()):
            return  # in the status of each AgentTask
        self._seed(org)
        ended = set(self._ended)
        server, owner = await self._connect(org)
        peers, now = await server.peers(), datetime.now(UTC)
        # Without an await until here, a pod that came meanwhile is among the live ones.
        live = set(self._live.values())
        gone, young = without_pod(peers, owner, live=live, seen=ended, now=now)
        for peer in gone:
            await server.remove(peer)
            logger.info("removed the peer %s from the mesh: its pod is gone", peer.hostname)
        if young:
            seconds = UNSEEN_FOR.total_seconds() + 1
            asyncio.get_running_loop().call_later(seconds, self.wake)
        self._ended -= ended
        for hostname in ended - set(self._live.values()):
            self._ids.pop(hostname, None)

    def _seed(self, org: OrgSettings) -> None:
        """After a restart: all AgentTasks with a pod, before any peer is called an orphan."""
        if self._is_seeded:
            return
        for task in self._cache.tasks():
            if any(not pod.is_dead for pod in self._cache.pods(task.name)):
                self._live.setdefault(task.name, _hostname(task, org))
                self._with_pod.add(task.name)
        self._is_seeded = True

    async def _connect(self, org: OrgSettings) -> tuple[ControlServer, Owner]:
        assert org.mesh is not None
        server, user = await self._connector(org, org.mesh)
        return server, Owner(user, org.mesh.tags, frozenset(self._ids.values()))

    def _described(self, error: Exception) -> str:
        if not isinstance(error, GuildNetError):
            self._on_internal_error()
            logger.error("the mesh's upkeep failed", exc_info=error)
        return describe_error(error)


def _hostname(task: TaskView, org: OrgSettings) -> str:
    return peer_name(task.name, task.org or org.org)
