"""`guildnet editor`: a local port to the editor in an agent's pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.options import ClusterOptions, TaskArgument, options, split_task
from guildnet_cli.output import Format, FormatOption, emit, examples, say

if TYPE_CHECKING:
    from guildnet_cli.cluster.port_forward import EditorAddress, EditorTarget


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet editor acme/fix-login",
            "guildnet editor acme/fix-login --open",
            "guildnet editor acme/fix-login --mesh",
        )
    )(editor)


@dataclass(frozen=True)
class MeshOptions:
    """How this machine reaches an agent's peer on a mesh."""

    mesh: Annotated[
        bool,
        typer.Option("--mesh", help="Connect over the org's mesh, not through the API server."),
    ] = False
    mesh_socket: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The socket of tailscaled. Default: the system's."),
    ] = None
    mesh_proxy: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The HTTP or SOCKS5 proxy of a tailscaled without a network interface, or none. "
            "Default: http://127.0.0.1:1055 for such a tailscaled.",
        ),
    ] = None

    def check(self) -> None:
        """Raise a usage error or a ConfigurationError for options that do not fit."""
        from guildnet.proxies import HTTP, SOCKS, checked_proxy
        from guildnet_cli.mesh.kubeconfig import DIRECT

        if not self.mesh and (self.mesh_socket or self.mesh_proxy):
            raise typer.BadParameter("--mesh-socket and --mesh-proxy require --mesh")
        if self.mesh_proxy is not None and self.mesh_proxy != DIRECT:
            checked_proxy(self.mesh_proxy, "--mesh-proxy", (*HTTP, *SOCKS))


@options(cluster=ClusterOptions, route=MeshOptions)
def editor(
    task: TaskArgument,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The local port. Default: a free one.")
    ] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    output: FormatOption = Format.TEXT,
    cluster: ClusterOptions,
    route: MeshOptions,
) -> None:
    """Forward a local port to a task's editor.

    Prints the address and password of code-server in the agent's pod. Runs until interrupted.
    """
    import asyncio
    import signal
    import sys

    from guildnet.errors import ConfigurationError
    from guildnet_cli.cluster import port_forward

    org, name = split_task(task)
    route.check()
    try:
        found = cluster.of(org)
    except ConfigurationError:
        # Over the mesh, people need no access to the cluster.
        if not route.mesh:
            raise
        target = _recorded(task, cluster.repo)
    else:
        target = asyncio.run(port_forward.editor_of(found, name))
    # Without this a terminated command would leave its kubectl behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def show(local_port: int, mesh_address: str = "") -> None:
        address = port_forward.EditorAddress(
            address=f"http://{name}.{org}.localhost:{local_port}",
            password=target.password,
            mesh_address=mesh_address,
        )
        _show(address, output, open_browser=open_browser)

    if route.mesh:
        _over_mesh(task, target, route, repo=cluster.repo, port=port, show=show)
        return
    with port_forward.Forward(found, target, port) as forward:
        show(forward.port)
        forward.serve()


def _show(address: EditorAddress, output: Format, *, open_browser: bool) -> None:
    if output is Format.JSON:
        typer.echo(address.to_line())
    else:
        emit(address.to_json(), output, address.to_text)
    if open_browser:
        typer.launch(address.address)


def _over_mesh(
    task: str,
    target: EditorTarget,
    options: MeshOptions,
    *,
    repo: str | None,
    port: int,
    show: Callable[[int, str], None],
) -> None:
    """Forward `port` to the agent's peer until interrupted."""
    import asyncio
    from contextlib import suppress

    from guildnet_cli.mesh import editor as mesh_editor
    from guildnet_cli.mesh.forwarding import Route, forwarding
    from guildnet_cli.mesh.tailnet import read_tailnet

    peer = mesh_editor.agent_peer(task, target.status, _login_server(task, repo))

    async def run() -> None:
        tailnet = await read_tailnet(options.mesh_socket)
        mesh_editor.visible(peer, tailnet)
        proxy = mesh_editor.proxy_of(tailnet, options.mesh_proxy)
        route = Route(peer.addresses[0], target.port, proxy)
        await mesh_editor.check(peer, route, tailnet.login)
        async with forwarding(route, port) as local_port:
            show(local_port, f"http://{peer.name}:{target.port}")
            await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


def _recorded(task: str, repo: str | None) -> EditorTarget:
    """The editor as the status branch names it, without its password.

    Raises GuildNetError where the branch or the task's record cannot be read.
    """
    from guildnet.errors import GuildNetError
    from guildnet.labels import EDITOR_PORT, STATUS_BRANCH
    from guildnet_cli.cluster.port_forward import EditorTarget
    from guildnet_cli.repository.status_branch import StatusBranch

    org, name = split_task(task)
    found = StatusBranch(repo, STATUS_BRANCH).read(org, name).tasks.get((org, name))
    if found is None:
        raise GuildNetError("it has no record on the status branch", place=task)
    say(
        "No kubeconfig of the org's cluster is stored here, so the peer is that of the status "
        f"branch. Somebody who has one gets the password with `guildnet editor {task}`."
    )
    return EditorTarget("", EDITOR_PORT, "", found.editor or {})


def _login_server(task: str, repo: str | None) -> str | None:
    """The control server of the org's mesh, if the org's file is at hand."""
    from guildnet.mesh import mesh_settings
    from guildnet_cli.repository.resources import find_org

    org = find_org(split_task(task)[0], repo, local_only=True)
    settings = mesh_settings(org.name, org.spec.get("mesh")) if org else None
    return settings.login_server if settings else None
