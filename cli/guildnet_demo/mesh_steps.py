"""The scenario's steps on a mesh: the agents' peers come, are guarded by the policy, and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from guildnet.kube import AGENT_TASKS, KubeClient
from guildnet.mesh import peer_name
from guildnet_demo import tasks
from guildnet_demo.mesh import LAPTOP, DemoMesh
from guildnet_demo.report import Leg
from guildnet_demo.sites import ACME, GLOBEX
from guildnet_demo.steps import DemoFailed, Look

T = TypeVar("T")

AGENTS = ((ACME, tasks.REPAIR), (GLOBEX, tasks.NOTES), (GLOBEX, tasks.FAILING))
_WITHIN = timedelta(seconds=90)


class Until(Protocol):
    """Waits for an event of the scenario."""

    def __call__(self, what: str, look: Look[T], within: timedelta) -> Awaitable[T]: ...


class MeshSteps:
    """Each step appends to `legs`."""

    def __init__(self, mesh: DemoMesh, legs: list[Leg], until: Until) -> None:
        self._mesh = mesh
        self._legs = legs
        self._until = until

    async def see_peers(self, client: Callable[[str], KubeClient]) -> None:
        """Each AgentTask reports its peer; `client` gives that of an org's cluster."""
        for org, task in AGENTS:

            async def look(org: str = org, task: str = task) -> dict[str, Any] | None:
                found = await client(org).find(AGENT_TASKS, task) or {}
                peer = found.get("status", {}).get("editor", {}).get("mesh")
                return peer if peer else None

            peer = await self._until(f"peer of {org}/{task} on the mesh", look, _WITHIN)
            detail = f"{org}/{task} is {peer['name']}, {peer['addresses'][0]}"
            self._legs.append(Leg("agent's peer", None, detail))

    async def see_policy(self) -> None:
        """The laptop is acme's: an agent of globex does not answer it."""
        other = peer_name(tasks.NOTES, GLOBEX)
        refusal = await self._mesh.refusal(other)
        if not refusal:
            raise DemoFailed(f"{LAPTOP}, of {ACME}, is not refused by {other}, of {GLOBEX}")
        self._legs.append(Leg("policy", None, f"{LAPTOP} -> {other}: {refusal}"))

    async def see_peer_removed(self) -> None:
        """The peer of the task that was deleted."""
        name, began = peer_name(tasks.FAILING, GLOBEX), time.monotonic()

        async def look() -> set[str] | None:
            found = await asyncio.to_thread(self._mesh.peers)
            return found if name not in found else None

        left = await self._until(f"removal of peer {name}", look, _WITHIN)
        took = time.monotonic() - began
        self._legs.append(Leg("peer removed", took, f"{name}; left: {', '.join(sorted(left))}"))
