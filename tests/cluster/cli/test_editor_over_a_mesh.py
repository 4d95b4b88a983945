"""`guildnet editor --mesh`: through a real tailnet to the agent's peer, or the reason why not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from guildnet import kube, labels, schema
from guildnet.errors import KubeError
from guildnet.mesh import MeshSettings, mesh_policy
from guildnet_devcluster import mesh
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.mesh_client import MeshClient
from guildnet_devcluster.progress import progress_to

GUILDNET = [sys.executable, "-m", "guildnet_cli.main"]
PASSWORD = "sesame"


@pytest.fixture(scope="module")
def editor_port() -> Iterator[str]:
    """`ADDRESS:PORT` of a stand-in for code-server."""

    class Page(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nthe editor.")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass(frozen=True)
class Tailnet:
    """A mesh with an agent's peer that serves the editor, and a person's machine."""

    server: Mesh
    agent: MeshClient
    laptop: MeshClient

    def options(self, scheme: str = "http") -> tuple[str, ...]:
        socket = self.laptop.folder / "tailscaled.sock"
        return "--mesh-socket", str(socket), "--mesh-proxy", f"{scheme}://{self.laptop.proxy}"


@pytest.fixture(scope="module")
def tailnet(mesh_server: Mesh, editor_port: str) -> Iterator[Tailnet]:
    admin = mesh_server.admin()
    key = admin.create_auth_key(admin.ensure_user("agents@"), tags=["tag:guildnet-acme"])
    agent = mesh_server.join("fix-acme", key)
    agent.serve(labels.EDITOR_PORT, editor_port)
    laptop = mesh_server.join("laptop", admin.create_auth_key(admin.ensure_user("alice@")))
    yield Tailnet(mesh_server, agent, laptop)
    agent.stop()
    laptop.stop()


@dataclass(frozen=True)
class Org:
    """An org in a namespace of its own, in a checkout, with an AgentTask `fix`."""

    client: kube.KubeClient
    root: Path

    async def report(self, peer: MeshClient | None, **ready: str) -> None:
        """Write the status as the operator would."""
        condition = {"type": "EditorReady", "status": "True", "reason": "Serving", "message": "",
                     "lastTransitionTime": "2026-01-01T00:00:00Z", **ready}  # fmt: skip
        editor: dict[str, Any] = {"service": "fix", "port": 8443, "secret": "fix"}
        if peer is not None:
            addresses = await asyncio.to_thread(peer.address)
            editor["mesh"] = {"name": peer.name, "id": "1", "addresses": [addresses]}
        status = {"conditions": [condition], "editor": editor}
        await self.client.patch(kube.AGENT_TASKS, "fix", {"status": status}, subresource="status")

    def guildnet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*GUILDNET, *arguments],
            cwd=self.root,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    async def refusal(self, *options: str) -> str:
        """The message of `guildnet editor --mesh`, on one line."""
        done = await asyncio.to_thread(self.guildnet, "editor", "acme/fix", "--mesh", *options)
        assert done.returncode == 1, done
        assert PASSWORD not in done.stdout + done.stderr
        return " ".join(done.stderr.split())


def _store(kubeconfig: Path, root: Path, namespace: str) -> None:
    """As `guildnet org add acme` does."""
    stored = Path(os.environ["GUILDNET_STATE_DIR"]) / "kube/acme.config"
    stored.parent.mkdir(parents=True)
    shutil.copy(kubeconfig, stored)
    (root / "orgs").mkdir()
    (root / "orgs/acme.yaml").write_text(
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\nspec:\n"
        f"  cluster: {{kubeconfig: acme, namespace: {namespace}}}\n"
    )


@pytest.fixture
async def org(control_plane: Path, tmp_path: Path) -> AsyncIterator[Org]:
    namespace = f"t-{uuid4().hex[:10]}"
    async with kube.KubeClient.from_kubeconfig(control_plane, namespace=namespace) as client:
        made = Org(client, tmp_path)
        _store(control_plane, tmp_path, namespace)
        await client.ensure_namespace(namespace, {})
        await client.apply(schema.crd(), field_manager="test")
        meta = {"name": "fix", "namespace": namespace}
        task = {"apiVersion": labels.API_VERSION, "kind": labels.KIND_AGENT_TASK,
                "metadata": meta, "spec": {"prompt": "x", "run": 1}}  # fmt: skip
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta,
                  "stringData": {"editor-password": PASSWORD}}  # fmt: skip
        async with asyncio.timeout(30):
            while True:
                try:
                    await client.apply(task, field_manager="test")
                    break
                except KubeError:
                    await asyncio.sleep(0.1)
        await client.apply(secret, field_manager="test")
        yield made
        await client.delete(kube.NAMESPACES, namespace)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_the_editor_is_forwarded_from_the_agents_peer(
    org: Org, tailnet: Tailnet, scheme: str
) -> None:
    await org.report(tailnet.agent)
    command = [*GUILDNET, "editor", "acme/fix", "--mesh", *tailnet.options(scheme), "-o", "json"]

    def use() -> tuple[dict[str, str], str, int]:
        with subprocess.Popen(command, cwd=org.root, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                shown = json.loads(process.stdout.readline())
                port = shown["address"].rpartition(":")[2]
                page = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30).text
            finally:
                os.kill(process.pid, signal.SIGINT)
            return shown, page, process.wait(20)

    shown, page, code = await asyncio.to_thread(use)

    assert page == "the editor."
    assert code == 0
    assert shown["address"].startswith("http://fix.acme.localhost:")
    assert shown["meshAddress"] == "http://fix-acme:8443"
    assert shown["password"] == PASSWORD


async def test_an_agent_without_a_peer_is_reported_with_its_cause(
    org: Org, tailnet: Tailnet
) -> None:
    cause = "the control server refused the peer: authkey expired"
    await org.report(None, status="False", reason="MeshUnavailable", message=cause)
    assert f"MeshUnavailable: {cause}" in await org.refusal(*tailnet.options())
    await org.report(None)
    assert "the agent has no peer on a mesh" in await org.refusal(*tailnet.options())


async def test_a_machine_that_is_not_on_the_mesh_is_told_how_to_join(
    org: Org, tailnet: Tailnet, tmp_path: Path
) -> None:
    await org.report(tailnet.agent)
    missing = await org.refusal("--mesh-socket", str(tmp_path / "no.sock"))
    assert "no tailscaled answers" in missing
    stranger = tailnet.server.client("stranger")
    stranger.start()
    try:
        message = await org.refusal("--mesh-socket", str(stranger.folder / "tailscaled.sock"))
    finally:
        stranger.stop()
    assert "this machine is not on the mesh: it has a tailscaled, but it is not logged" in message
    assert "tailscale up --login-server" in message


async def test_a_machine_on_another_tailnet_learns_of_both(org: Org, tailnet: Tailnet) -> None:
    await org.report(tailnet.agent)
    file = org.root / "orgs/acme.yaml"
    own = "  mesh: {mode: tailscale, loginServer: 'https://other.example', apiSecret: mesh}\n"
    file.write_text(file.read_text() + own)
    message = await org.refusal(*tailnet.options())
    assert f"on another tailnet: that of {tailnet.server.login_server}" in message
    assert "tailscale up --login-server https://other.example" in message


async def test_a_proxy_that_is_not_there_is_named(org: Org, tailnet: Tailnet) -> None:
    await org.report(tailnet.agent)
    socket, proxy = tailnet.options()[:2], ("--mesh-proxy", "http://127.0.0.1:9")
    message = await org.refusal(*socket, *proxy)
    assert "no proxy of a tailscaled answers at http://127.0.0.1:9" in message
    assert "--outbound-http-proxy-listen" in message


async def test_the_policy_lets_in_the_orgs_people_and_nobody_else(
    org: Org, editor_port: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the policy of `guildnet mesh policy` in force."""
    folder = tmp_path_factory.mktemp("policy")
    server = mesh.up(folder, progress=progress_to())
    try:
        settings = MeshSettings(
            login_server=server.login_server, tags=("tag:guildnet-acme",), people=("alice@",)
        )
        admin = server.admin()
        users = {login: admin.ensure_user(login) for login in ("agents@", "alice@", "mallory@")}
        admin.set_policy(json.dumps(mesh_policy({"acme": settings})))
        key = admin.create_auth_key(users["agents@"], tags=settings.tags)
        agent = server.join("fix-acme", key)
        agent.serve(labels.EDITOR_PORT, editor_port)
        mallory = server.join("mallory", admin.create_auth_key(users["mallory@"]))
        await org.report(agent)
        message = await org.refusal(*Tailnet(server, agent, mallory).options())
        alice = server.join("alice", admin.create_auth_key(users["alice@"]))
        seen = await asyncio.to_thread(alice.run, "status", "--json")
    finally:
        mesh.down(folder)
    assert "logged in as mallory" in message
    assert "policy shuts it out" in message
    assert "spec.mesh.people of orgs/acme.yaml" in message
    assert '"fix-acme"' in seen
