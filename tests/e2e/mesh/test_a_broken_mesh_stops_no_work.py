"""Whatever is wrong with the mesh, agents finish their work, and EditorReady names the cause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from tests.e2e.mesh.conftest import SECRET, Machine, Site, site_in, until

from guildnet_devcluster import processes
from guildnet_devcluster.mesh import Mesh

DONE = ("True", "TaskSucceeded")


@asynccontextmanager
async def operated(
    machine: Machine, found: Mesh, namespace: str, values: dict[str, str], **spec: str
) -> AsyncIterator[Site]:
    """A namespace of its own, whose operator finds the mesh's settings when it starts."""
    async with site_in(machine, found, namespace) as site:
        await site.set_up(values, **spec)
        async with site.operated():
            yield site


def api_key(found: Mesh) -> dict[str, str]:
    return {"api-key": found.api_key.read_text()}


async def test_a_control_server_goes_away_and_comes_back(machine: Machine, own_mesh: Mesh) -> None:
    async with operated(machine, own_mesh, "mesh-away", api_key(own_mesh)) as site:
        await site.add("steady")
        await site.comes_to("steady", "EditorReady", "True", "Serving")
        recorded = processes.recorded(own_mesh.headscale.layout)
        servers = [process for process in recorded if process.name == "headscale"]
        await asyncio.to_thread(processes.stop, servers, timedelta(seconds=10))
        await site.says("steady", "the control server does not answer", within=15)
        # Another task begins meanwhile, and is done before the server is back.
        await site.add("born", "true")
        await site.comes_to("born", "Succeeded", *DONE)
        assert "no answer" in await site.says("born", own_mesh.login_server)
        assert (await site.condition("steady", "Ready"))["reason"] == "AgentServing"

        await asyncio.to_thread(own_mesh.headscale.start)
        await site.comes_to("steady", "EditorReady", "True", "Serving")
        # Its key comes late; the node shows it to the running pod within a minute or two.
        await site.comes_to("born", "EditorReady", "True", "Serving", within=240)
        assert {node["name"] for node in await site.peers()} == {"steady-acme", "born-acme"}


async def test_a_revoked_api_key(machine: Machine, own_mesh: Mesh) -> None:
    async with operated(machine, own_mesh, "mesh-revoked", {"api-key": "no.key"}) as site:
        await site.add("revoked", "true")
        await site.comes_to("revoked", "Succeeded", *DONE)
        assert "guildnet secret set" in await site.says("revoked", "401")


async def test_a_missing_image(machine: Machine, own_mesh: Mesh) -> None:
    """It keeps no other container from starting."""
    missing = "localhost/no-such-image:1"
    async with operated(
        machine, own_mesh, "mesh-imageless", api_key(own_mesh), image=missing
    ) as site:
        await site.add("imageless", "true")
        await site.comes_to("imageless", "Succeeded", *DONE)
        await site.says("imageless", "the mesh image cannot be pulled")


async def test_a_key_that_ends_before_the_pod_is_up(machine: Machine, own_mesh: Mesh) -> None:
    admin = own_mesh.admin()
    user = admin.ensure_user("expired@")
    old = admin.create_auth_key(user, reusable=True, lifetime=timedelta(seconds=1))
    async with operated(
        machine, own_mesh, "mesh-expired", {"auth-key": old}, authKeySecret=SECRET
    ) as site:
        await site.add("expired", "true")
        await site.comes_to("expired", "Succeeded", *DONE)
        await site.says("expired", "the control server refused the peer: authkey expired")


async def test_with_a_shared_key_a_peer_logs_itself_out(machine: Machine, own_mesh: Mesh) -> None:
    """Before Headscale removes it as one that is away, after 70 s."""
    admin = own_mesh.admin()
    user = admin.ensure_user("shared@")
    key = admin.create_auth_key(user, reusable=True, tags=["tag:guildnet-acme"])
    async with operated(
        machine, own_mesh, "mesh-shared", {"auth-key": key}, authKeySecret=SECRET
    ) as site:
        await site.add("shared")
        await site.comes_to("shared", "EditorReady", "True", "Serving")

        async def is_gone() -> bool:
            nodes = await asyncio.to_thread(admin.nodes)
            return "shared-acme" not in {node["name"] for node in nodes}

        assert not await is_gone()
        began = time.monotonic()
        await site.remove("shared")
        await until(is_gone, "the peer is logged out", 60)
        print(f"logged out {time.monotonic() - began:.1f} s after the deletion")
