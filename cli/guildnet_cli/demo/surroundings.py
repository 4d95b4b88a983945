"""Where the demo takes place: two clusters, a forge with two repositories, and our services.

Everything is brought up with the commands a person would type, and lives in one folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from guildnet import labels
from guildnet.errors import GuildNetError, KubeNotFound
from guildnet.kube.client import KubeClient
from guildnet.kube.kinds import AGENT_TASKS, NAMESPACES, kind_of
from guildnet.resources import org_path
from guildnet_cli.demo.repositories import AGENT, BOT, PRODUCT, STATE, Repositories
from guildnet_cli.demo.running import run_program
from guildnet_devcluster import cluster, processes
from guildnet_devcluster.layout import Layout, state_folder
from guildnet_devcluster.preparation import prepare_everything
from guildnet_devcluster.progress import Progress

ACME, GLOBEX = "acme", "globex"
ORGS = (ACME, GLOBEX)
# Not one that an own cluster may have: the demo deletes it at its end.
NAMESPACE = "guildnet-demo"
FORGE_CREDENTIAL = "forge-token"
READY_WITHIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the person asked for. Without `kubeconfigs` two devclusters are brought up."""

    folder: Path
    kubeconfigs: Mapping[str, Path]
    image: str | None = None
    work_image: str | None = None
    #: Where pods reach this machine; needed with own clusters.
    host_address: str | None = None
    #: What the devclusters' names begin with: two tellings at once need two.
    cluster_prefix: str = "demo"


@dataclass(frozen=True, slots=True)
class EditorPage:
    """What `guildnet editor` printed, and the page behind the login."""

    address: str
    password: str
    text: str


def default_folder() -> Path:
    return state_folder() / "demo"


class Surroundings:
    """Brought up by `up`, ended by `down`; the rest is how the story reaches what is there."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._layout = Layout("demo", settings.folder / "services")
        self._clients: dict[str, KubeClient] = {}
        self._http = httpx.AsyncClient(timeout=10)
        self.repositories = Repositories(settings.folder)
        self._kubeconfigs: dict[str, Path] = dict(settings.kubeconfigs)
        self._ports = dict(zip(("reconciler", "dashboard", "forge"), _free_ports(3), strict=True))

    # --- up and down -------------------------------------------------------------------------

    def up(self) -> None:
        """Everything the story needs. Raises GuildNetError naming the first thing that failed."""
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        host_address = self._bring_up_clusters()
        self.repositories.up(host_address, self._ports["forge"], self._progress)
        with self._progress.step("laying out the state repository"):
            self._lay_out_state()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._install_org, ORGS))
        self._start_services()

    def down(self) -> None:
        """Ends whatever `up` started, also of a run that was killed; nothing there is no error."""
        with suppress(FileNotFoundError):
            processes.end(processes.recorded(self._layout), timedelta(seconds=10))
        self.repositories.down()
        with ThreadPoolExecutor() as pool:
            if self._settings.kubeconfigs:
                list(pool.map(self._leave, ORGS))
            else:
                list(pool.map(cluster.down, map(self._cluster_name, ORGS)))
        shutil.rmtree(self._settings.folder, ignore_errors=True)

    async def close(self) -> None:
        """Closes the story's own connections."""
        await self._http.aclose()
        await self.repositories.close()
        for client in self._clients.values():
            await client.close()

    def _bring_up_clusters(self) -> str:
        if self._settings.kubeconfigs:
            assert self._settings.host_address is not None
            self._images = images_named(self._settings)
            return self._settings.host_address
        built = prepare_everything(self._progress)
        self._images = (built.operator.name, built.work.name)

        def bring_up(org: str) -> cluster.Cluster:
            images = (built.operator, built.work)
            return cluster.up(
                self._cluster_name(org), node=True, progress=self._progress, images=images
            )

        with ThreadPoolExecutor() as pool:
            found = dict(zip(ORGS, pool.map(bring_up, ORGS), strict=True))
        self._kubeconfigs = {org: ready.kubeconfig for org, ready in found.items()}
        return found[ACME].host_address

    def _lay_out_state(self) -> None:
        self.guildnet("init", str(self.repositories.state_folder), "--no-examples")
        for org in ORGS:
            kubeconfig = str(self._kubeconfigs[org])
            self.guildnet(
                *("org", "add", org, "--kubeconfig", kubeconfig),
                *("--namespace", NAMESPACE, "--repo", str(self.repositories.state_folder)),
            )
            self._open_forge_to(org)
        self._webhook_secret.touch(mode=0o600)
        self._webhook_secret.write_text(secrets.token_hex(32))
        hook = f"{self._reconciler_address}/webhook/gitea"
        self.repositories.publish_state(hook, self._webhook_secret.read_text())

    def _open_forge_to(self, org: str) -> None:
        """Agents may reach what their org's file opens; the demo's need the forge alone."""
        file = self.repositories.state_folder / org_path(org)
        document = yaml.safe_load(file.read_text())
        host, _, port = self.repositories.host.partition(":")
        document["spec"]["agent"] = {"egress": [{"host": host, "port": int(port)}]}
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def _leave(self, org: str) -> None:
        """Takes the demo out of a cluster that was there before; the CRD stays."""
        told = self.guildnet(
            *("org", "install", org, "--dry-run", "--namespace", NAMESPACE),
            *("--kubeconfig", str(self._kubeconfigs[org])),
        )
        applied = [obj for obj in yaml.safe_load_all(told) if obj]
        asyncio.run(_take_out(self._kubeconfigs[org], applied))

    # --- our own services --------------------------------------------------------------------

    def _install_org(self, org: str) -> None:
        operator, work = self._images
        with self._progress.step(f"installing the operator for {org}", timedelta(seconds=10)):
            repo = ("--repo", str(self.repositories.state_folder))
            self.guildnet(
                *("org", "install", org, "--image", operator, "--work-image", work), *repo
            )
            self.guildnet(
                *("secret", "set", org, FORGE_CREDENTIAL, "--use", "git"),
                *("--host", self.repositories.host, *repo),
                text=self.repositories.tokens[AGENT],
            )

    def _start_services(self) -> None:
        token = self._settings.folder / "bot-token"
        token.touch(mode=0o600)
        token.write_text(self.repositories.tokens[BOT])
        repository = self.repositories.clone_url(STATE)
        credentials = ("--git-username", BOT, "--git-token-file", str(token))
        self._service(
            "reconciler",
            *("--repo", repository, "--listen", f"127.0.0.1:{self._ports['reconciler']}"),
            *("--webhook-secret-file", str(self._webhook_secret), *credentials),
        )
        self._service(
            "dashboard",
            *("--repo", repository, "--listen", f"127.0.0.1:{self._ports['dashboard']}"),
            *credentials,
        )
        for name, path in (("reconciler", "/ready"), ("dashboard", "/api/health")):
            self._wait_until_ready(name, f"http://127.0.0.1:{self._ports[name]}{path}")

    def _service(self, name: str, *arguments: str) -> None:
        argv = [*_GUILDNET, name, *arguments]
        processes.start(self._layout, name, argv, self._environment)

    def _wait_until_ready(self, name: str, url: str) -> None:
        def answers() -> bool:
            with suppress(httpx.HTTPError):
                return httpx.get(url, timeout=2).status_code == 200
            return False

        running = [p for p in processes.recorded(self._layout) if p.name == name]
        processes.wait_for(f"answer of the {name}", answers, self._layout, running, READY_WITHIN)

    def guildnet(self, *arguments: str, text: str | None = None) -> str:
        """Runs the command as a person would, `text` on its standard input; its output."""
        self._progress.line(f"$ guildnet {' '.join(arguments)}")
        return run_program([*_GUILDNET, *arguments], self._environment, text)

    # --- how the story reaches what is there --------------------------------------------------

    @property
    def service_logs(self) -> list[Path]:
        return sorted(self._layout.logs.glob("*.log"))

    @property
    def secret_values(self) -> list[str]:
        """Every credential in play, for whoever looks that none leaks."""
        return [*self.repositories.tokens.values(), self._webhook_secret.read_text()]

    @property
    def dashboard_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['dashboard']}"

    @property
    def addresses(self) -> dict[str, str]:
        """What a person can open while it runs."""
        state = self.repositories.clone_url(STATE).removesuffix(".git")
        return {
            "dashboard": self.dashboard_address,
            "state repository": state,
            "product": self.repositories.clone_url(PRODUCT).removesuffix(".git"),
            **{f"kubeconfig of {org}": str(path) for org, path in self._kubeconfigs.items()},
        }

    def client(self, org: str) -> KubeClient:
        if org not in self._clients:
            self._clients[org] = KubeClient.from_kubeconfig(self._kubeconfigs[org])
        return self._clients[org]

    def sync(self, org: str) -> None:
        """Asks the reconciler for a pass now, and returns once it is made."""
        self.guildnet("sync", org, "--wait", "--url", self._reconciler_address)

    async def dashboard_page(self, path: str) -> str:
        answer = await self._http.get(f"{self.dashboard_address}{path}")
        return answer.text if answer.status_code == 200 else ""

    @asynccontextmanager
    async def editor(self, org: str, task: str) -> AsyncIterator[EditorPage]:
        """`guildnet editor` while the block lasts, and the page its address shows."""
        process = await asyncio.create_subprocess_exec(
            *(*_GUILDNET, "editor", f"{org}/{task}", "--repo", str(self.repositories.state_folder)),
            *("--output", "json"),
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), 30)
            told = json.loads(line or b"{}")
            if set(told) != {"address", "password"}:
                raise GuildNetError("`guildnet editor` gave no address", place=f"{org}/{task}")
            yield EditorPage(**told, text=await self._editor_page(told))
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    async def _editor_page(self, told: Mapping[str, str]) -> str:
        """The workbench, behind code-server's login with the password the command printed."""
        # *.localhost is this machine (RFC 6761), which not every resolver knows.
        address = told["address"].rstrip("/")
        port = address.rpartition(":")[2]
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=20
        ) as browser:
            await browser.post("/login", data={"password": told["password"]})
            return (await browser.get("/")).text

    # --- small things ------------------------------------------------------------------------

    def _cluster_name(self, org: str) -> str:
        return f"{self._settings.cluster_prefix}-{org}"

    @property
    def _webhook_secret(self) -> Path:
        return self._settings.folder / "webhook-secret"

    @property
    def _reconciler_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['reconciler']}"

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "GUILDNET_STATE_DIR": str(state_folder())}


_GUILDNET = (sys.executable, "-m", "guildnet_cli.main")


async def _take_out(kubeconfig: Path, applied: Sequence[Mapping[str, Any]]) -> None:
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        with suppress(KubeNotFound):
            # Nobody is left to record them, which is what the finalizer waits for.
            for task in await client.list_all(AGENT_TASKS, NAMESPACE):
                patch = {"metadata": {"finalizers": None}}
                await client.patch(AGENT_TASKS, task["metadata"]["name"], patch, NAMESPACE)
        for obj in reversed(applied):
            meta, kept = obj["metadata"], obj["kind"] == "CustomResourceDefinition"
            if kept or meta["name"] == labels.OPERATOR_NAMESPACE:
                continue
            with suppress(KubeNotFound):
                await client.delete(kind_of(obj), meta["name"], meta.get("namespace"))
        with suppress(KubeNotFound):
            await client.delete(NAMESPACES, NAMESPACE)


def images_named(settings: Settings) -> tuple[str, str]:
    """(operator image, work image) that own clusters can pull."""
    if settings.image is None or settings.work_image is None:
        raise GuildNetError(
            "own clusters need images they can pull",
            place="demo",
            cure="give --image and --work-image, built from agent/Dockerfile",
        )
    return settings.image, settings.work_image


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now; held open together so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [server.getsockname()[1] for server in held]
    finally:
        for server in held:
            server.close()
