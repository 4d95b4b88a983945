"""An org with a mesh on a real node: its operator, its agents' pods, and a Headscale they reach.

The operator runs in the test's process, with the node's administrator; pods are those of a real
kubelet, under NetworkPolicies that are enforced.
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guildnet import conditions, labels, schema
from guildnet.digest import canonical_json
from guildnet.errors import GuildNetError
from guildnet.kube import (
    AGENT_TASKS,
    CUSTOM_RESOURCE_DEFINITIONS,
    PODS,
    KubeClient,
)
from guildnet_devcluster import cluster, mesh
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.images import Images, ensure_mesh_image
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.preparation import prepare_everything, prepare_mesh
from guildnet_devcluster.progress import progress_to
from guildnet_operator import main
from guildnet_operator.install import _namespace
from guildnet_operator.settings import Settings

ORG = "acme"
SECRET = "mesh"


async def until(look: Callable[[], Awaitable[Any]], what: str, seconds: float = 90) -> Any:
    """Wait until `look` returns a true value; return it."""
    found: Any = None
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):  # noqa: ASYNC110  a cluster has no event
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"not in {seconds} s: {what}") from None
    return found


@dataclass(frozen=True)
class Machine:
    """A node with the three images, and the programs of a mesh."""

    cluster: Cluster
    images: Images
    mesh_image: str


@pytest.fixture(scope="session")
def machine(node_cluster: Cluster) -> Machine:
    try:
        images = prepare_everything(progress_to())
        prepare_mesh(progress_to())
        mesh_image = ensure_mesh_image(progress_to())
    except GuildNetError as error:
        pytest.skip(f"the images cannot be built: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(node_cluster.data.parents[1]))
        for image in (images.operator, images.work, mesh_image):
            cluster.load_image(node_cluster.name, image.archive, progress_to())
    return Machine(node_cluster, images, mesh_image.name)


@pytest.fixture(scope="module")
def own_mesh(machine: Machine, node_folders: Path) -> Iterator[Mesh]:
    """A Headscale of the module's own, which its tests may stop; pods reach it."""
    folder = node_folders / f"t-own-mesh-{os.getpid()}"
    try:
        yield mesh.up(folder, progress=progress_to(), reachable_by_pods=True)
    finally:
        mesh.down(folder)


@dataclass
class Site:
    """The org's namespace `namespace`, whose agents are to join `mesh`."""

    machine: Machine
    mesh: Mesh
    namespace: str
    client: KubeClient

    async def set_up(self, values: dict[str, str], **spec: Any) -> None:
        """Namespace, CRD, the mesh's Secret with these values, and the org's settings."""
        await self.client.apply(schema.crd(), field_manager="tests")
        await self.client.apply(_namespace(self.namespace, ORG), field_manager="tests")

        async def is_served() -> bool:
            found = await self.client.get(
                CUSTOM_RESOURCE_DEFINITIONS, f"{labels.PLURAL}.{labels.GROUP}"
            )
            given = found.get("status", {}).get("conditions") or ()
            return any(c["type"] == "Established" and c["status"] == "True" for c in given)

        await until(is_served, "the CRD is established")
        await self.set_secret(values)
        await self.configure(**spec)

    async def set_secret(self, values: dict[str, str]) -> None:
        await self.client.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": SECRET,
                    "namespace": self.namespace,
                    "labels": {labels.USE: "mesh"},
                    "annotations": {labels.HOSTS: self.mesh.headscale.address},
                },
                "data": {
                    key: base64.b64encode(value.encode()).decode()
                    for key, value in {**values, "ca.crt": self.mesh.ca.read_text()}.items()
                },
            },
            field_manager="tests",
        )

    async def configure(self, **spec: Any) -> None:
        """The org's settings, as the reconciler writes them for the operator."""
        given = {"mode": "tailscale", "loginServer": self.mesh.login_server}
        secret = {} if "authKeySecret" in spec else {"apiSecret": SECRET}
        settings = {"mesh": {**given, **secret, **spec}, "egress": []}
        await self.client.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": labels.ORG_CONFIG_MAP, "namespace": self.namespace},
                "data": {"org": ORG, "settings": canonical_json(settings).decode()},
            },
            field_manager="tests",
        )

    @asynccontextmanager
    async def operated(self) -> AsyncIterator[None]:
        settings = Settings(
            kubeconfig=self.machine.cluster.kubeconfig,
            namespace=self.namespace,
            operator_image=self.machine.images.operator.name,
            work_image=self.machine.images.work.name,
            mesh_image=self.machine.mesh_image,
        )
        operator = asyncio.create_task(main.run(settings))
        try:
            yield
            assert not operator.done(), operator.result()
        finally:
            operator.cancel()
            with suppress(asyncio.CancelledError):
                await operator

    # --- tasks --------------------------------------------------------------------------------

    async def add(self, name: str, command: str = "sleep 3600", **spec: Any) -> None:
        await self.client.create(
            {
                "apiVersion": labels.API_VERSION,
                "kind": labels.KIND_AGENT_TASK,
                "metadata": {
                    "name": name,
                    "namespace": self.namespace,
                    "labels": {labels.ORG: ORG},
                },
                "spec": {
                    "prompt": "Say hello.",
                    "run": 1,
                    "agent": {"preset": "shell", "command": ["sh", "-c", command]},
                    "editor": {"enabled": True, "afterFinished": "1h"},
                    "timeout": "1h",
                    "retries": 0,
                    **spec,
                },
            }
        )

    async def remove(self, name: str) -> None:
        await self.client.delete(AGENT_TASKS, name, self.namespace)

    async def status(self, name: str) -> dict[str, Any]:
        found = await self.client.get(AGENT_TASKS, name, self.namespace)
        status: dict[str, Any] = found.get("status", {})
        return status

    async def condition(self, name: str, kind: str) -> dict[str, Any]:
        found = conditions.find((await self.status(name)).get("conditions", ()), kind)
        return dict(found or {})

    async def comes_to(self, name: str, kind: str, *wanted: str, within: float = 180) -> str:
        """Wait for (status, reason) of a condition; return its message."""

        async def look() -> bool:
            found = await self.condition(name, kind)
            return (found.get("status"), found.get("reason")) == wanted

        try:
            await until(look, f"{name}: {kind} is {wanted}", within)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {await self.status(name)}") from None
        return str((await self.condition(name, kind)).get("message", ""))

    async def says(self, name: str, text: str, within: float = 180) -> str:
        """Wait until EditorReady is False with a message that contains `text`; return it."""

        async def look() -> str:
            found = await self.condition(name, "EditorReady")
            message = str(found.get("message", ""))
            is_it = found.get("reason") == "MeshUnavailable" and text in message
            return message if is_it else ""

        try:
            return str(await until(look, f"{name}: EditorReady says {text!r}", within))
        except AssertionError as error:
            found = await self.condition(name, "EditorReady")
            raise AssertionError(f"{error}; it says {found}") from None

    async def pod(self, name: str) -> dict[str, Any]:
        (found,) = await self.client.list_all(
            PODS, self.namespace, label_selector=f"{labels.TASK}={name}"
        )
        return found

    async def peers(self) -> list[dict[str, Any]]:
        """The agents' peers on the control server."""
        nodes = await asyncio.to_thread(self.mesh.admin().nodes)
        return [node for node in nodes if node["user"]["name"].startswith(f"guildnet-{ORG}-")]

    async def gone(self, name: str, within: float = 60) -> float:
        """Wait until the task's peer is gone; seconds waited."""
        began = time.monotonic()

        async def look() -> bool:
            return f"{name}-{ORG}" not in {node["name"] for node in await self.peers()}

        await until(look, f"the peer of {name} is gone", within)
        return time.monotonic() - began

    def kubectl(self, *arguments: str) -> str:
        program = str(Path(sys.executable).parent / "kubectl")
        config = f"--kubeconfig={self.machine.cluster.kubeconfig}"
        done = subprocess.run(
            [program, config, "-n", self.namespace, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments[:3])}: {done.stderr}"
        return done.stdout


@asynccontextmanager
async def site_in(machine: Machine, found: Mesh, namespace: str) -> AsyncIterator[Site]:
    async with KubeClient.from_kubeconfig(
        machine.cluster.kubeconfig, namespace=namespace
    ) as client:
        yield Site(machine, found, namespace, client)
