"""The demo's mesh: a Headscale that the agents' pods reach, and a person's machine on it."""

from __future__ import annotations

from pathlib import Path

from guildnet.labels import EDITOR_PORT
from guildnet_cli.mesh.forwarding import NoConnection, Route
from guildnet_cli.mesh.tailnet import read_tailnet
from guildnet_demo.sites import ACME, GLOBEX
from guildnet_devcluster import mesh
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.mesh_client import MeshClient
from guildnet_devcluster.progress import Progress

SECRET = "mesh"  # noqa: S105  a name, not a password
LAPTOP = "laptop"
#: Who may reach the editors of an org's agents; the laptop is acme's.
PEOPLE = {ACME: "alice@", GLOBEX: "bob@"}


def mesh_folder(folder: Path) -> Path:
    """Where the mesh of the demo in `folder` has its data; unique on the machine."""
    return folder / "demo-mesh"


def remove(folder: Path) -> None:
    """Stop and delete the mesh of the demo in `folder`, if there is one."""
    mesh.down(mesh_folder(folder))


class DemoMesh:
    """Started by `up`."""

    def __init__(self, folder: Path) -> None:
        self._folder = mesh_folder(folder)
        self._mesh: Mesh | None = None
        self._laptop: MeshClient | None = None

    def up(self, progress: Progress) -> None:
        """Start Headscale, and join the laptop as acme's person. Raises GuildNetError."""
        self._mesh = mesh.up(self._folder, progress=progress, reachable_by_pods=True)
        self._laptop = mesh.ensure_client(self._mesh, LAPTOP, PEOPLE[ACME], progress)
        for login in PEOPLE.values():
            self._mesh.admin().ensure_user(login)

    def org_spec(self, org: str) -> str:
        """The lines of an org's file."""
        server = self._running.login_server
        return (
            f"  mesh: {{mode: tailscale, loginServer: '{server}', apiSecret: {SECRET}, "
            f"people: ['{PEOPLE[org]}']}}\n"
        )

    @property
    def host(self) -> str:
        """The control server's host, as its Secret lists it."""
        return self._running.login_server.partition("://")[2]

    @property
    def secret_values(self) -> dict[str, str]:
        """The Secret's values by key."""
        return {
            "api-key": self._running.api_key.read_text(),
            "ca.crt": self._running.ca.read_text(),
        }

    def put_in_force(self, policy: str) -> None:
        self._running.admin().set_policy(policy)

    @property
    def editor_options(self) -> tuple[str, ...]:
        """The options by which `guildnet editor` uses the laptop's tailscaled."""
        proxy = f"http://{self._on_mesh.proxy}"
        return "--mesh", "--mesh-socket", str(self._socket), "--mesh-proxy", proxy

    def peers(self) -> set[str]:
        """The names of the agents' peers that are online."""
        nodes = self._running.admin().nodes()
        return {node["givenName"] for node in nodes if node["online"]} - {LAPTOP}

    async def refusal(self, peer: str) -> str:
        """Why the laptop gets no connection to the editor of `peer`; empty if it gets one."""
        seen = (await read_tailnet(self._socket)).named(peer)
        if seen is None:
            return "hidden by the policy"
        route = Route(seen.addresses[0], EDITOR_PORT, f"http://{self._on_mesh.proxy}")
        try:
            _, writer = await route.connect()
        except NoConnection as error:
            return str(error)
        writer.close()
        return ""

    @property
    def _socket(self) -> Path:
        return self._on_mesh.folder / "tailscaled.sock"

    @property
    def _running(self) -> Mesh:
        assert self._mesh is not None
        return self._mesh

    @property
    def _on_mesh(self) -> MeshClient:
        assert self._laptop is not None
        return self._laptop
