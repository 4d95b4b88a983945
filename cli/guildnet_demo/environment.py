"""The demo's environment: clusters, a forge with two repositories, and our services.

Everything is started with the commands a person would type, and keeps its files in one folder.
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
from guildnet.resources import org_path
from guildnet.state_folder import state_folder
from guildnet_demo import model_endpoint
from guildnet_demo.mesh import SECRET, DemoMesh
from guildnet_demo.mesh import remove as remove_mesh
from guildnet_demo.programs import run_program
from guildnet_demo.repositories import AGENT, BOT, PRODUCT, STATE, Repositories
from guildnet_demo.sites import ORGS, Site, SiteDetails, namespace_of
from guildnet_devcluster import processes
from guildnet_devcluster.control_plane import free_ports
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.progress import Progress

FORGE_CREDENTIAL = "forge-token"
READY_WITHIN = timedelta(seconds=60)
_EDITOR_SECONDS = 40.0  # kubectl gets 30 of them to open the port


@dataclass(frozen=True, slots=True)
class EditorPage:
    """What `guildnet editor` printed, and the page after the login. `mesh_address` is empty
    without a mesh."""

    address: str
    password: str
    mesh_address: str
    text: str


def services_in(folder: Path) -> Layout:
    """Where the process ids and logs of the services in `folder` are."""
    return Layout("demo", folder / "services")


def end(folder: Path, downs: Iterable[Callable[[], None]]) -> None:
    """Stop what a demo in `folder` runs, even if it was killed, and delete the folder.

    `downs` remove it from its clusters after our services have stopped.
    """
    with suppress(FileNotFoundError):
        processes.stop(processes.recorded(services_in(folder)), timedelta(seconds=10))
    Repositories(folder).down()
    remove_mesh(folder)
    for down in downs:
        down()
    shutil.rmtree(folder, ignore_errors=True)


class DemoEnvironment:
    """Started by `up`, removed by `down`; the rest gives the scenario access to it."""

    def __init__(self, folder: Path, site: Site, progress: Progress) -> None:
        self.folder = folder
        self._site = site
        self._progress = progress
        self._layout = services_in(folder)
        self._details: SiteDetails | None = None
        self._clients: dict[str, KubeClient] = {}
        self._http = httpx.AsyncClient(timeout=10)
        self.repositories = Repositories(folder)
        self.mesh: DemoMesh | None = None
        services = ("reconciler", "dashboard", "forge", "model")
        self._ports = dict(zip(services, free_ports(len(services)), strict=True))

    # --- up and down -------------------------------------------------------------------------

    def up(self) -> None:
        """Start everything the scenario needs. Raises GuildNetError for the first failure."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._details = self._site.up(self._progress)
        if self._details.mesh_image is not None:
            self.mesh = DemoMesh(self.folder)
            self.mesh.up(self._progress)
        self.repositories.up(self._details.host_address, self._ports["forge"], self._progress)
        self._write_private(self._model_key, secrets.token_hex(32))
        processes.start(
            self._layout,
            "model",
            model_endpoint.serve_command(self._ports["model"], self._model_key),
            self._environment,
        )
        with self._progress.step("laying out the state repository"):
            self._lay_out_state(self._details)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._install_org, ORGS))
        self._start_services()

    def down(self) -> None:
        """Stop and delete what `up` created; also after a partial `up`, or none."""
        end(self.folder, [self._site.down])

    async def close(self) -> None:
        """Close the scenario's own connections."""
        await self._http.aclose()
        await self.repositories.close()
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def _lay_out_state(self, details: SiteDetails) -> None:
        state = str(self.repositories.state_folder)
        self.guildnet("init", state, "--no-examples")
        for org in ORGS:
            self.guildnet(
                *("org", "add", org, "--kubeconfig", str(details.kubeconfigs[org])),
                *("--namespace", namespace_of(org), "--egress", self.repositories.host),
                *(*model_endpoint.org_options(self._model_url), "--repo", state),
            )
            if self.mesh is not None:
                with (self.repositories.state_folder / org_path(org)).open("a") as file:
                    file.write(self.mesh.org_spec(org))
        if self.mesh is not None:
            self.mesh.put_in_force(self.guildnet("mesh", "policy", state))
        self._write_private(self._webhook_secret, secrets.token_hex(32))
        hook = f"{self._reconciler_address}/webhook/gitea"
        self.repositories.publish_state(hook, self._webhook_secret.read_text())

    # --- our own services --------------------------------------------------------------------

    def _install_org(self, org: str) -> None:
        repo = ("--repo", str(self.repositories.state_folder))
        images = ["--image", self.details.operator_image, "--work-image", self.details.work_image]
        if self.details.mesh_image is not None:
            images += ["--mesh-image", self.details.mesh_image]
        with self._progress.step(f"installing the operator for {org}", timedelta(seconds=10)):
            self.guildnet("org", "install", org, *images, *repo)
            self.guildnet(
                *("secret", "set", org, FORGE_CREDENTIAL, "--use", "git"),
                *("--host", f"http://{self.repositories.host}", *repo),
                text=self.repositories.tokens[AGENT],
            )
            self.guildnet(
                *("secret", "set", org, model_endpoint.SECRET, "--use", "model"),
                *("--host", self._model_url, *repo),
                text=self._model_key.read_text(),
            )
            for key, value in self.mesh.secret_values.items() if self.mesh else ():
                self.guildnet(
                    *("secret", "set", org, SECRET, "--use", "mesh", "--key", key),
                    *("--host", self.mesh.host if self.mesh else "", *repo),
                    text=value,
                )

    def _start_services(self) -> None:
        token = self.folder / "bot-token"
        self._write_private(token, self.repositories.tokens[BOT])
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
        """Run the command with `text` on its standard input; return its output."""
        self._progress.line(f"$ guildnet {' '.join(arguments)}")
        return run_program([*_GUILDNET, *arguments], self._environment, text)

    # --- access for the scenario -------------------------------------------------------------

    @property
    def details(self) -> SiteDetails:
        assert self._details is not None
        return self._details

    @property
    def is_site_up(self) -> bool:
        """Whether the clusters are up."""
        return self._details is not None

    @property
    def service_logs(self) -> list[Path]:
        return sorted(self._layout.logs.glob("*.log"))

    @property
    def logs(self) -> list[Path]:
        """The logs of our services and of the forge."""
        return [*self.service_logs, *self.repositories.logs]

    def check(self) -> None:
        """Raises GuildNetError, with the end of its log, if a service has exited."""
        for process in processes.recorded(self._layout):
            if not process.is_alive:
                log = self._layout.logs / f"{process.name}.log"
                last = log.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
                raise GuildNetError(f"the {process.name} has exited; its log ends: {last[-1:]}")
        self.repositories.check()

    @property
    def secret_values(self) -> list[str]:
        """Every credential in use, for tests that look for leaks."""
        files = (self._webhook_secret, self._model_key)
        return [*self.repositories.tokens.values(), *(file.read_text() for file in files)]

    @property
    def dashboard_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['dashboard']}"

    @property
    def addresses(self) -> dict[str, str]:
        """What a person can open or use while it runs; empty before the forge is up."""
        if self._details is None or not self.repositories.is_up:
            return {}
        state = self.repositories.clone_url(STATE).removesuffix(".git")
        return {
            "dashboard": self.dashboard_address,
            "state repository": state,
            "product": self.repositories.clone_url(PRODUCT).removesuffix(".git"),
            **{f"kubeconfig of {org}": str(at) for org, at in self._details.kubeconfigs.items()},
            "for the guildnet command": f"export {self._variables}",
        }

    @property
    def _variables(self) -> str:
        repository = self.repositories.clone_url(STATE)
        return f"GUILDNET_STATE_DIR={state_folder()} GUILDNET_REPO={repository}"

    def client(self, org: str) -> KubeClient:
        if org not in self._clients:
            self._clients[org] = KubeClient.from_kubeconfig(
                self.details.kubeconfigs[org], namespace=namespace_of(org)
            )
        return self._clients[org]

    def sync(self, org: str) -> None:
        """Request a pass and wait until it is done."""
        self.guildnet("sync", org, "--wait", "--url", self._reconciler_address)

    async def served_by_model(self) -> dict[str, int]:
        """What the model endpoint served so far, by the names of a run's usage."""
        try:
            answer = await self._http.get(f"http://127.0.0.1:{self._ports['model']}/_total")
        except httpx.HTTPError as error:
            raise GuildNetError(f"the model endpoint does not answer: {error!r}") from error
        served: dict[str, int] = answer.json()
        return served

    async def dashboard_page(self, path: str) -> str:
        with suppress(httpx.HTTPError):
            answer = await self._http.get(f"{self.dashboard_address}{path}")
            return answer.text if answer.status_code == 200 else ""
        return ""

    @asynccontextmanager
    async def editor(self, org: str, task: str) -> AsyncIterator[EditorPage]:
        """Run `guildnet editor` for the block, and fetch the page at its address."""
        process = await asyncio.create_subprocess_exec(
            *(*_GUILDNET, "editor", f"{org}/{task}", "--repo", str(self.repositories.state_folder)),
            *("--output", "json"),
            *(self.mesh.editor_options if self.mesh else ()),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = b""
            with suppress(TimeoutError):
                line = await asyncio.wait_for(process.stdout.readline(), _EDITOR_SECONDS)
            if not line:
                with suppress(ProcessLookupError):
                    process.terminate()
                output = (await process.stderr.read(4096)).decode(errors="replace").strip()
                raise GuildNetError(f"`guildnet editor` printed no address: {output}")
            printed = json.loads(line)
            yield EditorPage(
                address=printed["address"],
                password=printed["password"],
                mesh_address=printed.get("meshAddress", ""),
                text=await self._editor_page(printed),
            )
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    async def _editor_page(self, printed: Mapping[str, str]) -> str:
        """Log in to code-server with the printed password and fetch the workbench."""
        # *.localhost is this machine (RFC 6761), but not every resolver knows it.
        address = printed["address"].rstrip("/")
        port = address.rpartition(":")[2]
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=20
            ) as browser:
                await browser.post("/login", data={"password": printed["password"]})
                return (await browser.get("/")).text
        except httpx.HTTPError as error:
            raise GuildNetError(f"the editor does not answer: {error!r}", place=address) from error

    # --- small things ------------------------------------------------------------------------

    @property
    def _webhook_secret(self) -> Path:
        return self.folder / "webhook-secret"

    @property
    def _model_key(self) -> Path:
        return self.folder / "model-key"

    @property
    def _model_url(self) -> str:
        return f"http://{self.details.host_address}:{self._ports['model']}"

    @staticmethod
    def _write_private(file: Path, text: str) -> None:
        file.touch(mode=0o600)
        file.write_text(text)

    @property
    def _reconciler_address(self) -> str:
        return f"http://127.0.0.1:{self._ports['reconciler']}"

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "GUILDNET_STATE_DIR": str(state_folder())}


_GUILDNET = (sys.executable, "-m", "guildnet_cli.main")
