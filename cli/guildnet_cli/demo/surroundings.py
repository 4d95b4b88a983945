"""Where the demo takes place: its ground, a forge with two repositories, and our services.

Everything is brought up with the commands a person would type, and lives in one folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from guildnet.errors import GuildNetError
from guildnet.kube.client import KubeClient
from guildnet_cli.demo.grounds import ORGS, Ground, Place, namespace_of
from guildnet_cli.demo.repositories import AGENT, BOT, PRODUCT, STATE, Repositories
from guildnet_cli.demo.running import run_program
from guildnet_devcluster import processes
from guildnet_devcluster.control_plane import free_ports
from guildnet_devcluster.layout import Layout, state_folder
from guildnet_devcluster.progress import Progress

FORGE_CREDENTIAL = "forge-token"
READY_WITHIN = timedelta(seconds=60)
_EDITOR_WITHIN = 40.0  # seconds: kubectl has 30 to open the port


@dataclass(frozen=True, slots=True)
class EditorPage:
    """What `guildnet editor` printed, and the page behind the login."""

    address: str
    password: str
    text: str


def services_in(folder: Path) -> Layout:
    """Where the services of the demo in `folder` are recorded, and their logs."""
    return Layout("demo", folder / "services")


def end(folder: Path, downs: Iterable[Callable[[], None]]) -> None:
    """End whatever a demo in `folder` runs, also of one that was killed, and delete the folder.

    `downs` take it out of its clusters, once nothing of ours works on them any more.
    """
    with suppress(FileNotFoundError):
        processes.end(processes.recorded(services_in(folder)), timedelta(seconds=10))
    Repositories(folder).down()
    for down in downs:
        down()
    shutil.rmtree(folder, ignore_errors=True)


class Surroundings:
    """Brought up by `up`, ended by `down`; the rest is how the story reaches what is there."""

    def __init__(self, folder: Path, place: Place, progress: Progress) -> None:
        self.folder = folder
        self._place = place
        self._progress = progress
        self._layout = services_in(folder)
        self._ground: Ground | None = None
        self._clients: dict[str, KubeClient] = {}
        self._http = httpx.AsyncClient(timeout=10)
        self.repositories = Repositories(folder)
        self._ports = dict(zip(("reconciler", "dashboard", "forge"), free_ports(3), strict=True))

    # --- up and down -------------------------------------------------------------------------

    def up(self) -> None:
        """Everything the story needs. Raises GuildNetError naming the first thing that failed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ground = self._place.up(self._progress)
        self.repositories.up(self._ground.host_address, self._ports["forge"], self._progress)
        with self._progress.step("laying out the state repository"):
            self._lay_out_state(self._ground)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._install_org, ORGS))
        self._start_services()

    def down(self) -> None:
        """Ends and deletes what `up` brought; nothing there is no error."""
        end(self.folder, [self._place.down])

    async def close(self) -> None:
        """Closes the story's own connections."""
        await self._http.aclose()
        await self.repositories.close()
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def _lay_out_state(self, ground: Ground) -> None:
        state = str(self.repositories.state_folder)
        self.guildnet("init", state, "--no-examples")
        for org in ORGS:
            self.guildnet(
                *("org", "add", org, "--kubeconfig", str(ground.kubeconfigs[org])),
                *("--namespace", namespace_of(org), "--egress", self.repositories.host),
                *("--repo", state),
            )
        self._webhook_secret.touch(mode=0o600)
        self._webhook_secret.write_text(secrets.token_hex(32))
        hook = f"{self._reconciler_address}/webhook/gitea"
        self.repositories.publish_state(hook, self._webhook_secret.read_text())

    # --- our own services --------------------------------------------------------------------

    def _install_org(self, org: str) -> None:
        repo = ("--repo", str(self.repositories.state_folder))
        images = ("--image", self.ground.operator_image, "--work-image", self.ground.work_image)
        with self._progress.step(f"installing the operator for {org}", timedelta(seconds=10)):
            self.guildnet("org", "install", org, *images, *repo)
            self.guildnet(
                *("secret", "set", org, FORGE_CREDENTIAL, "--use", "git"),
                *("--host", self.repositories.host, *repo),
                text=self.repositories.tokens[AGENT],
            )

    def _start_services(self) -> None:
        token = self.folder / "bot-token"
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
    def ground(self) -> Ground:
        assert self._ground is not None
        return self._ground

    @property
    def has_ground(self) -> bool:
        """Whether the clusters are there."""
        return self._ground is not None

    @property
    def service_logs(self) -> list[Path]:
        return sorted(self._layout.logs.glob("*.log"))

    @property
    def logs(self) -> list[Path]:
        """Those of our services and of the forge."""
        return [*self.service_logs, *self.repositories.logs]

    def check(self) -> None:
        """Raises GuildNetError where a service that was started has ended, with its last words."""
        for process in processes.recorded(self._layout):
            if not process.is_alive:
                log = self._layout.logs / f"{process.name}.log"
                last = log.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
                raise GuildNetError(f"the {process.name} has ended; its log ends: {last[-1:]}")
        self.repositories.check()

    @property
    def secret_values(self) -> list[str]:
        """Every credential in play, for whoever looks that none leaks."""
        return [*self.repositories.tokens.values(), self._webhook_secret.read_text()]

    @property
    def dashboard_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['dashboard']}"

    @property
    def addresses(self) -> dict[str, str]:
        """What a person can open or use while it runs; nothing before there is a forge."""
        if self._ground is None or not self.repositories.is_up:
            return {}
        state = self.repositories.clone_url(STATE).removesuffix(".git")
        return {
            "dashboard": self.dashboard_address,
            "state repository": state,
            "product": self.repositories.clone_url(PRODUCT).removesuffix(".git"),
            **{f"kubeconfig of {org}": str(at) for org, at in self._ground.kubeconfigs.items()},
            "for the command": f"export {self._variables}",
        }

    @property
    def _variables(self) -> str:
        repository = self.repositories.clone_url(STATE)
        return f"GUILDNET_STATE_DIR={state_folder()} GUILDNET_REPO={repository}"

    def client(self, org: str) -> KubeClient:
        if org not in self._clients:
            self._clients[org] = KubeClient.from_kubeconfig(
                self.ground.kubeconfigs[org], namespace=namespace_of(org)
            )
        return self._clients[org]

    def sync(self, org: str) -> None:
        """Asks the reconciler for a pass now, and returns once it is made."""
        self.guildnet("sync", org, "--wait", "--url", self._reconciler_address)

    async def dashboard_page(self, path: str) -> str:
        with suppress(httpx.HTTPError):
            answer = await self._http.get(f"{self.dashboard_address}{path}")
            return answer.text if answer.status_code == 200 else ""
        return ""

    @asynccontextmanager
    async def editor(self, org: str, task: str) -> AsyncIterator[EditorPage]:
        """`guildnet editor` while the block lasts, and the page its address shows."""
        process = await asyncio.create_subprocess_exec(
            *(*_GUILDNET, "editor", f"{org}/{task}", "--repo", str(self.repositories.state_folder)),
            *("--output", "json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = b""
            with suppress(TimeoutError):
                line = await asyncio.wait_for(process.stdout.readline(), _EDITOR_WITHIN)
            if not line:
                with suppress(ProcessLookupError):
                    process.terminate()
                said = (await process.stderr.read(4096)).decode(errors="replace").strip()
                raise GuildNetError(f"`guildnet editor` gave no address: {said}")
            told = json.loads(line)
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
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=20
            ) as browser:
                await browser.post("/login", data={"password": told["password"]})
                return (await browser.get("/")).text
        except httpx.HTTPError as error:
            raise GuildNetError(f"the editor does not answer: {error!r}", place=address) from error

    # --- small things ------------------------------------------------------------------------

    @property
    def _webhook_secret(self) -> Path:
        return self.folder / "webhook-secret"

    @property
    def _reconciler_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['reconciler']}"

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "GUILDNET_STATE_DIR": str(state_folder())}


_GUILDNET = (sys.executable, "-m", "guildnet_cli.main")
