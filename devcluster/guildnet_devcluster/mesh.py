"""A mesh for devclusters and tests: Headscale, and userspace Tailscale clients that join it.

As root on Linux, Headscale can run in a network namespace of its own, which only this machine and
the pods of its devclusters reach: the namespace has no route to any other address. Otherwise it
listens on loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.state_folder import make_private, state_folder, write_private

from . import node_network, processes, teardown
from .build_cache import exclusive
from .components import ensure
from .control_plane import free_ports, is_free
from .headscale import Headscale
from .headscale_admin import HeadscaleAdmin
from .layout import Layout
from .mesh_client import MeshClient
from .progress import Progress

_LOOPBACK = "127.0.0.1"
_HTTPS = 443
_STUN = 3478


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh."""

    headscale: Headscale
    #: The folder of the compiled Tailscale programs.
    programs: Path

    @property
    def login_server(self) -> str:
        """The URL for clients, and of the API; without a trailing slash."""
        return self.headscale.url

    @property
    def ca(self) -> Path:
        """The CA certificate (PEM) that clients must trust."""
        return self.headscale.ca

    @property
    def api_key(self) -> Path:
        """The file with the API key; only its owner can read it."""
        return self.headscale.api_key

    def admin(self) -> HeadscaleAdmin:
        """A client for Headscale's API."""
        return self.headscale.admin()

    def client(self, name: str, *, proxy_port: int | None = None) -> MeshClient:
        """The client `name`, not started; its proxy listens on a free port if `proxy_port` is None.

        `name` is a DNS label, and the peer's name on the mesh.
        """
        return MeshClient(
            layout=self.headscale.layout,
            programs=self.programs,
            name=name,
            login_server=self.login_server,
            ca=self.ca,
            proxy_port=free_ports(1)[0] if proxy_port is None else proxy_port,
        )

    def join(self, name: str, auth_key: str, *, proxy_port: int | None = None) -> MeshClient:
        """Start the client `name` and join it to the mesh. Raises GuildNetError if it cannot."""
        client = self.client(name, proxy_port=proxy_port)
        client.start()
        client.join(auth_key)
        return client


def folder() -> Path:
    """The folder of this machine's mesh, in the state directory."""
    return state_folder() / "mesh"


def up(data_dir: Path, *, progress: Progress, reachable_by_pods: bool = False) -> Mesh:
    """Start Headscale with its data in `data_dir`, unless it is running there.

    With `reachable_by_pods` it gets a network namespace, which requires root on Linux. The last
    component of `data_dir` must be unique on the machine then. What a crash left behind is removed
    first; users, keys and peers are kept until `down`, and the URL unless its port is taken.
    Raises ConfigurationError if it needs root, or exists in the other place, and GuildNetError if a
    program cannot be built or Headscale does not start.
    """
    headscale = ensure("headscale", progress)
    tailscale = ensure("tailscale", progress)
    layout = layout_of(data_dir)
    make_private(layout.data)
    with exclusive(_lock(layout)):
        _check_place(layout, reachable_by_pods)
        running = _running(layout, headscale, tailscale)
        if running is not None:
            return running
        with progress.step("starting Headscale"):
            teardown.tear_down(layout)
            try:
                server = _place(layout, headscale, reachable_by_pods)
                server.start()
            except BaseException:
                teardown.tear_down(layout)
                raise
        _record(layout).write_text(json.dumps(_placement(server)))
        return Mesh(server, tailscale)


def ensure_client(found: Mesh, name: str, login: str, progress: Progress) -> MeshClient:
    """Start the client `name` with its existing identity, or join it as the user `login`.

    Raises GuildNetError if it cannot join.
    """
    layout = found.headscale.layout
    with exclusive(_lock(layout)):
        client = found.client(name, proxy_port=_proxy_port(layout, name))
        if client.is_running:
            return client
        with progress.step("joining the mesh"):
            client.start()
            write_private(_ports(layout, name), str(client.proxy_port).encode())
            if client.has_identity():
                client.wait_until_connected()
            else:
                admin = found.admin()
                user = admin.ensure_user(login)
                client.join(admin.create_auth_key(user, ephemeral=False))
    return client


def down(data_dir: Path) -> None:
    """Stop Headscale and every client of `data_dir`, and delete all data, if there are any.

    Raises ConfigurationError if this requires root.
    """
    layout = layout_of(data_dir)
    if not layout.data.is_dir() and not _lock(layout).exists():
        return
    with exclusive(_lock(layout)):
        teardown.tear_down(layout)
        shutil.rmtree(layout.data, ignore_errors=True)
        _lock(layout).unlink(missing_ok=True)


def layout_of(data_dir: Path) -> Layout:
    """The layout of the mesh in `data_dir`."""
    data = data_dir.resolve()
    return Layout(data.name, data)


def _lock(layout: Layout) -> Path:
    return layout.data.parent / f".{layout.data.name}.lock"


def _record(layout: Layout) -> Path:
    return layout.data / "mesh.json"


def _check_place(layout: Layout, reachable_by_pods: bool) -> None:
    if reachable_by_pods and (os.geteuid() != 0 or not sys.platform.startswith("linux")):
        raise ConfigurationError(
            "a mesh that pods reach requires Linux and root",
            place=f"mesh in {layout.data}",
            cure="Run the command as root, or start it on loopback only with --loopback.",
        )
    recorded = _recorded(layout)
    if recorded is not None and reachable_by_pods == (recorded[0] == _LOOPBACK):
        raise ConfigurationError(
            f"it exists at {recorded[0]}, and its peers know it by that address",
            place=f"mesh in {layout.data}",
            cure="Run `guildnet devcluster mesh down` first, or up as before.",
        )


def _proxy_port(layout: Layout, name: str) -> int | None:
    """The port that the client's proxy had, if it can be used; None for any."""
    with suppress(OSError, ValueError):
        port = int(_ports(layout, name).read_text())
        alive = {each.name for each in processes.recorded(layout) if each.is_alive}
        if f"client-{name}" in alive or is_free(port):
            return port
    return None


def _ports(layout: Layout, name: str) -> Path:
    return layout.data / "clients" / name / "proxy-port"


def _running(layout: Layout, headscale: Path, tailscale: Path) -> Mesh | None:
    """The mesh of the record, if its Headscale runs and answers."""
    alive = {process.name for process in processes.recorded(layout) if process.is_alive}
    recorded = _recorded(layout)
    if recorded is None or "headscale" not in alive:
        return None
    address, port, stun_port = recorded
    server = _headscale(layout, headscale, address, port, stun_port)
    return Mesh(server, tailscale) if server.admin().is_healthy() else None


def _place(layout: Layout, program: Path, reachable_by_pods: bool) -> Headscale:
    """Choose the addresses of Headscale, those of the record where possible."""
    recorded = _recorded(layout)
    if not reachable_by_pods:
        ports = list(recorded[1:]) if recorded and recorded[0] == _LOOPBACK else []
        if not ports or not all(map(is_free, ports)):
            ports = free_ports(2)
        return _headscale(layout, program, _LOOPBACK, *ports)
    slot = int(recorded[0].split(".")[2]) if recorded and recorded[0] != _LOOPBACK else 0
    network = node_network.claim_slot(layout, slot)
    node_network.build(layout, network, isolated=True)
    return _headscale(layout, program, network.node_address, _HTTPS, _STUN)


def _headscale(
    layout: Layout, programs: Path, address: str, port: int, stun_port: int
) -> Headscale:
    return Headscale(
        layout=layout,
        program=programs / "headscale",
        address=address,
        port=port,
        stun_port=stun_port,
        inside=() if address == _LOOPBACK else node_network.inside(layout),
    )


def _placement(server: Headscale) -> tuple[str, int, int]:
    return server.address, server.port, server.stun_port


def _recorded(layout: Layout) -> tuple[str, int, int] | None:
    """Address, port and STUN port of the record; None if it is missing or unreadable."""
    with suppress(OSError, ValueError, TypeError):
        address, port, stun_port = json.loads(_record(layout).read_text())
        return str(address), int(port), int(stun_port)
    return None
