"""An agent's editor is reached over the mesh, by nobody's way but the policy's, until it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx
from tests.e2e.mesh.conftest import Machine, site_in, until

from guildnet import labels
from guildnet_devcluster.mesh import Mesh

NAMESPACE = "mesh-editors"
#: Run in `work`: what of the mesh it finds, and what the ports of user argv[1] answer it.
LOOK = """
import json, os, socket, sys
def ports(path):
    rows = [line.split() for line in open(path).readlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows
            if row[3] == "0A" and row[7] == sys.argv[1]}
def answer(port):
    for address in ("127.0.0.1", "::1"):
        try:
            with socket.create_connection((address, port), 3) as connection:
                connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                return connection.recv(100).decode()
        except ConnectionError:
            continue
    return ""
files = [os.path.join(at, name) for top in ("/run", "/var", "/tmp", "/exchange")
         for at, _, names in os.walk(top) for name in names]
print(json.dumps({
    "answers": {port: answer(port) for port in ports("/proc/net/tcp") | ports("/proc/net/tcp6")},
    "files": [path for path in files if "mesh" in path or "tailscale" in path],
    "abstract": [line.split()[-1] for line in open("/proc/net/unix") if "@" in line],
    "env": [name for name in os.environ if name.startswith("TS_")],
}))
"""


async def fetched(client_proxy: str, address: str, port: int) -> int:
    """The status of a page on the mesh; 0 if there is no answer."""
    proxy = f"http://{client_proxy}"
    try:
        async with httpx.AsyncClient(proxy=proxy, trust_env=False, timeout=8) as http:
            return (await http.get(f"http://{address}:{port}/healthz")).status_code
    except httpx.HTTPError:
        return 0


def processes_of(pod_uid: str, user: int) -> dict[str, int]:
    """The processes of one user in a pod: program name to process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            in_pod = pod_uid.replace("-", "_") in (folder / "cgroup").read_text() or (
                pod_uid in (folder / "cgroup").read_text()
            )
            if in_pod and folder.stat().st_uid == user:
                found[(folder / "comm").read_text().strip()] = int(folder.name)
        except OSError:
            continue
    return found


def resident_mib(pid: int) -> float:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in x)
    return int(line.split()[1]) / 1024


async def test_an_editor_is_on_the_mesh_from_its_pods_start_to_its_end(
    machine: Machine, pod_mesh: Mesh
) -> None:
    admin = pod_mesh.admin()
    key = admin.create_auth_key(admin.ensure_user("reader@"))
    reader = await asyncio.to_thread(pod_mesh.join, "editors-reader", key)
    try:
        async with site_in(machine, pod_mesh, NAMESPACE) as site:
            await site.set_up({"api-key": pod_mesh.api_key.read_text()})
            async with site.operated():
                await site.add("edit")
                await site.comes_to("edit", "EditorReady", "True", "Serving")
                status, pod = await site.status("edit"), await site.pod("edit")
                peer = status["editor"]["mesh"]
                (node,) = await site.peers()
                assert peer["name"].partition(".")[0] == node["givenName"] == "edit-acme"
                assert set(peer["addresses"]) == set(node["ipAddresses"])
                assert node["forcedTags"] == ["tag:guildnet-acme"]
                assert node["preAuthKey"]["reusable"] is False
                assert node["preAuthKey"]["ephemeral"] is True
                assert peer["name"] in site.kubectl("get", "at", "edit", "-o", "wide")
                assert await fetched(reader.proxy, node["ipAddresses"][0], 8443) == 200
                print(
                    "peer up after", node["createdAt"], "pod", pod["metadata"]["creationTimestamp"]
                )

                name = pod["metadata"]["name"]
                look = ("python3", "-c", LOOK, str(labels.MESH_UID))
                seen = json.loads(site.kubectl("exec", name, "-c", "work", "--", *look))
                # The port for other peers closes each connection that is not one's.
                assert set(seen["answers"].values()) == {""}, seen
                assert (seen["files"], seen["abstract"], seen["env"]) == ([], [], [])
                for container in ("work", "supervisor"):
                    text = json.dumps(next(
                        c for c in (*pod["spec"]["containers"], *pod["spec"]["initContainers"])
                        if c["name"] == container
                    ))  # fmt: skip
                    assert "mesh-auth-key" not in text

                before = processes_of(pod["metadata"]["uid"], labels.MESH_UID)
                assert {"containerboot", "tailscaled"} <= set(before)
                print("RSS MiB", {n: round(resident_mib(p)) for n, p in before.items()})
                os.kill(before["tailscaled"], signal.SIGKILL)

                async def is_back() -> bool:
                    now = processes_of(pod["metadata"]["uid"], labels.MESH_UID)
                    return now.get("tailscaled", before["tailscaled"]) != before["tailscaled"]

                await until(is_back, "the mesh container is started again", 60)
                await site.comes_to("edit", "EditorReady", "True", "Serving")
                assert (await site.status("edit"))["editor"]["mesh"] == peer
                assert [n["id"] for n in await site.peers()] == [node["id"]]
                assert await fetched(reader.proxy, node["ipAddresses"][0], 8443) == 200
                assert (await site.condition("edit", "Ready"))["reason"] == "AgentServing"
                assert (await site.status("edit"))["start"] == 1, "the run went on"

                began = time.monotonic()
                await site.remove("edit")

                async def is_ended() -> bool:
                    return not processes_of(pod["metadata"]["uid"], labels.WORK_UID)

                await site.gone("edit")
                print("peer gone", round(time.monotonic() - began, 1), "s after the deletion")
                await until(is_ended, "the pod has ended", 120)
    finally:
        reader.stop()
