"""`guildnet editor --mesh`: whether this machine reaches an agent's editor, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guildnet.errors import GuildNetError
from guildnet_cli.mesh.forwarding import NoConnection, Route
from guildnet_cli.mesh.kubeconfig import DEFAULT_PROXY, DIRECT
from guildnet_cli.mesh.tailnet import RUNNING, Neighbour, Tailnet

_STATES = {
    "NeedsLogin": "it is not logged in",
    "Stopped": "it is stopped",
    "NeedsMachineAuth": "it waits for approval on the control server",
    "Starting": "it is still connecting",
    "NoState": "it is still starting",
}


@dataclass(frozen=True, slots=True)
class AgentPeer:
    """An agent's peer, as `status.editor.mesh` of its AgentTask names it. `login_server` is the
    org's, None where it is not known."""

    task: str
    name: str
    addresses: tuple[str, ...]
    login_server: str | None = None

    @property
    def join(self) -> str:
        """How a machine joins the org's mesh."""
        return f"tailscale up --login-server {self.login_server or 'URL'}"


def agent_peer(task: str, editor: Mapping[str, Any], login_server: str | None) -> AgentPeer:
    """The peer in `status.editor` of a task ("org/task"). Raises GuildNetError without one."""
    peer = editor.get("mesh") or {}
    addresses = tuple(str(address) for address in peer.get("addresses") or ())
    if not addresses:
        raise GuildNetError(
            "the agent has no peer on a mesh",
            place=task,
            cure="Set spec.mesh in the org's file; the task's next start joins it. Without a mesh: "
            f"guildnet editor {task}",
        )
    return AgentPeer(task, str(peer.get("name", "")), addresses, login_server)


def visible(peer: AgentPeer, tailnet: Tailnet) -> Neighbour:
    """The peer as this machine sees it. Raises GuildNetError with the reason where it does not."""
    if tailnet.state != RUNNING:
        state = _STATES.get(tailnet.state, f"its state is {tailnet.state or 'unknown'}")
        raise GuildNetError(
            f"this machine is not on the mesh: it has a tailscaled, but {state}",
            place=peer.task,
            cure=f"Join: {peer.join}",
        )
    other = peer.login_server and tailnet.control_url and peer.login_server != tailnet.control_url
    if other:
        raise GuildNetError(
            f"this machine is on another tailnet: that of {tailnet.control_url}; the agent is on "
            f"that of {peer.login_server}",
            place=peer.task,
            cure=f"Switch: {peer.join} (`tailscale switch` keeps both logins)",
        )
    found = tailnet.find(peer.addresses)
    if found is None:
        raise _hidden(peer, tailnet)
    if not found.is_online:
        raise GuildNetError(
            f"the peer {peer.name} is offline",
            place=peer.task,
            cure=f"See condition EditorReady with `guildnet status {peer.task}`.",
        )
    return found


def _hidden(peer: AgentPeer, tailnet: Tailnet) -> GuildNetError:
    return GuildNetError(
        f"this machine, logged in as {tailnet.login or 'nobody'}, does not see the peer "
        f"{peer.name}: the policy shuts it out, or it is on another tailnet",
        place=peer.task,
        cure=f"{_admit(peer)}; or join the agent's tailnet: {peer.join}",
    )


def _admit(peer: AgentPeer) -> str:
    org = peer.task.partition("/")[0]
    return (
        f"Add the login to spec.mesh.people of orgs/{org}.yaml, and put the policy that "
        "`guildnet mesh policy` prints in force"
    )


def proxy_of(tailnet: Tailnet, given: str | None) -> str | None:
    """The proxy to the mesh: the given one, or that of a tailscaled without an interface."""
    if given is not None:
        return None if given == DIRECT else given
    return None if tailnet.has_interface else DEFAULT_PROXY


async def check(peer: AgentPeer, route: Route, login: str) -> None:
    """Connect to the editor once. `login` is this machine's on the mesh.

    Raises GuildNetError with the reason where that fails.
    """
    try:
        _, writer = await route.connect()
    except NoConnection as error:
        raise _unreachable(peer, route, login, error) from error
    writer.close()


def _unreachable(peer: AgentPeer, route: Route, login: str, error: NoConnection) -> GuildNetError:
    """Why the editor cannot be reached, although this machine sees its peer."""
    if error.proxy_failed:
        return GuildNetError(
            f"no proxy of a tailscaled answers at {route.proxy}: {error}",
            place=peer.task,
            cure="This machine's tailscaled has no network interface: start it with "
            "--outbound-http-proxy-listen=HOST:PORT, and give that as --mesh-proxy "
            "http://HOST:PORT.",
        )
    return GuildNetError(
        f"port {route.port} of the peer {peer.name} does not answer this machine, logged in as "
        f"{login or 'nobody'}: {error}",
        place=peer.task,
        cure=f"If the policy shuts it out: {_admit(peer)}. Otherwise see what "
        f"`tailscale ping {route.host}` and `guildnet status {peer.task}` say.",
    )
