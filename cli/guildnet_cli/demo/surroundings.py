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
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import yaml

from guildnet.errors import GuildNetError
from guildnet.kube.client import KubeClient
from guildnet.resources import org_path
from guildnet_cli.demo.tasks import ForgePlaces
from guildnet_devcluster import cluster, forge, processes
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.layout import Layout, state_folder
from guildnet_devcluster.preparation import prepare_everything
from guildnet_devcluster.progress import Progress

ACME, GLOBEX = "acme", "globex"
ORGS = (ACME, GLOBEX)
NAMESPACE = "agents"
OWNER, BOT, AGENT = "alice", "guildnet-bot", "agent-bot"
STATE, PRODUCT = f"{OWNER}/state", f"{OWNER}/stats"
FORGE_CREDENTIAL = "forge-token"
READY_WITHIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the person asked for. Without `kubeconfigs` two devclusters are brought up."""

    folder: Path
    kubeconfigs: Mapping[str, Path]
    operator_image: str | None = None
    work_image: str | None = None
    #: Where pods reach this machine; needed with own clusters.
    host_address: str | None = None


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
        self._kubeconfigs: dict[str, Path] = dict(settings.kubeconfigs)
        self._forge: forge.Forge | None = None
        self._tokens: dict[str, str] = {}
        self._ports = dict(zip(("reconciler", "dashboard", "forge"), _free_ports(3), strict=True))

    # --- up and down -------------------------------------------------------------------------

    def up(self) -> None:
        """Everything the story needs. Raises GuildNetError naming the first thing that failed."""
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        host_address = self._bring_up_clusters()
        with self._progress.step("starting the forge", timedelta(seconds=8)):
            self._bring_up_forge(host_address)
        with self._progress.step("laying out the repositories"):
            self._lay_out_product()
            self._lay_out_state()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._install_org, ORGS))
        self._start_services()

    def down(self) -> None:
        """Ends whatever `up` started, also of a run that was killed; nothing there is no error."""
        with suppress(FileNotFoundError):
            processes.end(processes.recorded(self._layout), timedelta(seconds=10))
        forge.down(self._settings.folder / "forge")
        if not self._settings.kubeconfigs:
            with ThreadPoolExecutor() as pool:
                list(pool.map(cluster.down, map(_cluster_name, ORGS)))
        shutil.rmtree(self._settings.folder, ignore_errors=True)

    async def close(self) -> None:
        """Closes the story's own connections."""
        await self._http.aclose()
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
            ready = cluster.up(_cluster_name(org), node=True, progress=self._progress)
            for image in (built.operator, built.work):
                cluster.load_image(_cluster_name(org), image.archive, self._progress)
            return ready

        with ThreadPoolExecutor() as pool:
            found = dict(zip(ORGS, pool.map(bring_up, ORGS), strict=True))
        self._kubeconfigs = {org: ready.kubeconfig for org, ready in found.items()}
        return found[ACME].host_address

    # --- the forge and its two repositories --------------------------------------------------

    def _bring_up_forge(self, host_address: str) -> None:
        port = self._ports["forge"]
        self._forge = forge.up(
            self._settings.folder / "forge",
            listen=f"0.0.0.0:{port}",
            root_url=f"http://{host_address}:{port}",
            progress=self._progress,
        )
        admin = self._admin
        for user in (OWNER, BOT, AGENT):
            password = secrets.token_urlsafe(18)
            admin.create_user(user, password)
            self._tokens[user] = admin.create_token(user, password, "demo")
        for repository, writer in ((STATE, BOT), (PRODUCT, AGENT)):
            admin.create_repository(repository, private=False)
            admin.add_collaborator(repository, writer)

    def _lay_out_product(self) -> None:
        folder = self.product_folder
        folder.mkdir()
        for file in (resources.files("guildnet_cli.demo") / "product").iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
        self._push_new(folder, PRODUCT, "A small product with a failing test")

    def _lay_out_state(self) -> None:
        self.guildnet("init", str(self._state_folder), "--no-examples")
        for org in ORGS:
            kubeconfig = str(self._kubeconfigs[org])
            self.guildnet(
                *("org", "add", org, "--kubeconfig", kubeconfig),
                *("--namespace", NAMESPACE, "--repo", str(self._state_folder)),
            )
            self._open_forge_to(org)
        self._push_new(self._state_folder, STATE, "Two orgs")
        self._admin.protect_branch(STATE, "main", pushers=[OWNER])
        self._webhook_secret.touch(mode=0o600)
        self._webhook_secret.write_text(secrets.token_hex(32))
        hook = f"{self._reconciler_address}/webhook/gitea"
        self._admin.add_webhook(STATE, hook, self._webhook_secret.read_text())

    def _open_forge_to(self, org: str) -> None:
        """Agents may reach what their org's file opens; the demo's need the forge alone."""
        file = self._state_folder / org_path(org)
        document = yaml.safe_load(file.read_text())
        host, _, port = self._forge_host.partition(":")
        document["spec"]["agent"] = {"egress": [{"host": host, "port": int(port)}]}
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def _push_new(self, folder: Path, repository: str, message: str) -> None:
        self._git(folder, "init", "--quiet", "--initial-branch=main")
        self._git(folder, "remote", "add", "origin", self._clone_url(repository))
        self._commit_all(folder, message)

    def _commit_all(self, folder: Path, message: str) -> str:
        self._git(folder, "add", "--all")
        self._git(folder, "commit", "--quiet", "--message", message)
        self._git(folder, "push", "--quiet", "origin", "main")
        return self._git(folder, "rev-parse", "HEAD").strip()

    def _git(self, folder: Path, *arguments: str) -> str:
        store = self._settings.folder / "credentials"
        if not store.exists():
            store.touch(mode=0o600)
            scheme, _, rest = self._running_forge.url.partition("://")
            store.write_text(f"{scheme}://{OWNER}:{self._tokens[OWNER]}@{rest}\n")
        identity = ("-c", f"user.name={OWNER}", "-c", f"user.email={OWNER}@example.com")
        helper = ("-c", "credential.helper=", "-c", f"credential.helper=store --file={store}")
        return _run(["git", "-C", str(folder), *identity, *helper, *arguments], os.environ)

    # --- our own services --------------------------------------------------------------------

    def _install_org(self, org: str) -> None:
        operator, work = self._images
        with self._progress.step(f"installing the operator for {org}", timedelta(seconds=10)):
            repo = ("--repo", str(self._state_folder))
            self.guildnet(
                *("org", "install", org, "--image", operator, "--work-image", work), *repo
            )
            self.guildnet(
                *("secret", "set", org, FORGE_CREDENTIAL, "--use", "git"),
                *("--host", self._forge_host, *repo),
                text=self._tokens[AGENT],
            )

    def _start_services(self) -> None:
        token = self._settings.folder / "bot-token"
        token.touch(mode=0o600)
        token.write_text(self._tokens[BOT])
        repository = self._clone_url(STATE)
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
        return _run([*_GUILDNET, *arguments], self._environment, text)

    # --- how the story reaches what is there --------------------------------------------------

    @property
    def forge_places(self) -> ForgePlaces:
        raw = f"{self._running_forge.url}/{PRODUCT}/raw/branch/main/README.md"
        return ForgePlaces(self._clone_url(PRODUCT), raw)

    @property
    def product_folder(self) -> Path:
        """A work tree of the product, as it was first pushed."""
        return self._settings.folder / "product"

    @property
    def service_logs(self) -> list[Path]:
        return sorted(self._layout.logs.glob("*.log"))

    @property
    def secret_values(self) -> list[str]:
        """Every credential in play, for whoever looks that none leaks."""
        return [*self._tokens.values(), self._webhook_secret.read_text()]

    @property
    def dashboard_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['dashboard']}"

    @property
    def addresses(self) -> dict[str, str]:
        """What a person can open while it runs."""
        state = self._clone_url(STATE).removesuffix(".git")
        return {
            "dashboard": self.dashboard_address,
            "state repository": state,
            "product": self._clone_url(PRODUCT).removesuffix(".git"),
            **{f"kubeconfig of {org}": str(path) for org, path in self._kubeconfigs.items()},
        }

    def client(self, org: str) -> KubeClient:
        if org not in self._clients:
            self._clients[org] = KubeClient.from_kubeconfig(self._kubeconfigs[org])
        return self._clients[org]

    async def commit(self, files: Mapping[str, str | None], message: str) -> str:
        """Writes (None: deletes) files of the state repository, commits and pushes; the commit."""
        for path, text in files.items():
            file = self._state_folder / path
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        return await asyncio.to_thread(self._commit_all, self._state_folder, message)

    async def status_file(self, path: str) -> dict[str, Any] | None:
        """A JSON file of the status branch as the forge has it now; None where there is none."""
        api = f"/repos/{STATE}/raw/{path}?ref=status"
        answer = await self._forge_get(api)
        return None if answer is None else json.loads(answer.content)

    async def status_tip(self) -> str:
        """The commit the status branch is at."""
        answer = await self._forge_get(f"/repos/{STATE}/branches/status")
        return "" if answer is None else str(answer.json()["commit"]["id"])

    async def status_branch_text(self) -> str:
        """Every change the status branch ever made, with its messages."""
        self._git(self._state_folder, "fetch", "--quiet", "origin", "status")
        return self._git(self._state_folder, "log", "--patch", "FETCH_HEAD")

    def sync(self, org: str) -> None:
        """Asks the reconciler for a pass now, and returns once it is made."""
        self.guildnet("sync", org, "--wait", "--url", self._reconciler_address)

    async def pull_requests(self) -> list[dict[str, Any]]:
        """Every pull request of the product, in any state, as the forge tells it."""
        answer = await self._forge_get(f"/repos/{PRODUCT}/pulls?state=all")
        return [] if answer is None else list(answer.json())

    async def pull_request_files(self, number: int) -> list[str]:
        answer = await self._forge_get(f"/repos/{PRODUCT}/pulls/{number}/files")
        return [] if answer is None else [file["filename"] for file in answer.json()]

    async def _forge_get(self, path: str) -> httpx.Response | None:
        headers = {"Authorization": f"token {self._tokens[OWNER]}"}
        answer = await self._http.get(f"{self._running_forge.url}/api/v1{path}", headers=headers)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer

    async def dashboard_page(self, path: str) -> str:
        answer = await self._http.get(f"{self.dashboard_address}{path}")
        return answer.text if answer.status_code == 200 else ""

    @asynccontextmanager
    async def editor(self, org: str, task: str) -> AsyncIterator[EditorPage]:
        """`guildnet editor` while the block lasts, and the page its address shows."""
        process = await asyncio.create_subprocess_exec(
            *(*_GUILDNET, "editor", f"{org}/{task}", "--repo", str(self._state_folder)),
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

    @property
    def _running_forge(self) -> forge.Forge:
        assert self._forge is not None
        return self._forge

    @property
    def _state_folder(self) -> Path:
        return self._settings.folder / "state-repository"

    @property
    def _webhook_secret(self) -> Path:
        return self._settings.folder / "webhook-secret"

    @property
    def _reconciler_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['reconciler']}"

    @property
    def _admin(self) -> ForgeAdmin:
        return ForgeAdmin(self._running_forge.local_url, self._running_forge.admin_token)

    @property
    def _forge_host(self) -> str:
        """`ADDRESS:PORT` as tasks, Secrets and openings name it."""
        return self._running_forge.url.partition("://")[2]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "GUILDNET_STATE_DIR": str(state_folder())}

    def _clone_url(self, repository: str) -> str:
        return f"{self._running_forge.url}/{repository}.git"


_GUILDNET = (sys.executable, "-m", "guildnet_cli.main")


def _cluster_name(org: str) -> str:
    return f"demo-{org}"


def images_named(settings: Settings) -> tuple[str, str]:
    """(operator image, work image) that own clusters can pull."""
    if settings.operator_image is None or settings.work_image is None:
        raise GuildNetError(
            "own clusters need images they can pull",
            place="demo",
            cure="give --operator-image and --work-image, built from agent/Dockerfile",
        )
    return settings.operator_image, settings.work_image


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now; held open together so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [server.getsockname()[1] for server in held]
    finally:
        for server in held:
            server.close()


def _run(argv: list[str], environment: Mapping[str, str], text: str | None = None) -> str:
    done = subprocess.run(
        argv, env=dict(environment), input=text or "", capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GuildNetError(
            f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}",
            place=" ".join(argv[:6]),
        )
    return done.stdout
