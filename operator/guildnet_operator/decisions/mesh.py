"""The agent's peer on the org's mesh: who it is, and why it cannot be reached. Pure.

A broken mesh keeps no agent from its work: it is in condition EditorReady alone.
"""

from __future__ import annotations

import re
from typing import Any

from guildnet.agent_api.state import MeshPeer
from guildnet.redact import strip_urls
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.decisions.pod_failures import IMAGE_REASONS
from guildnet_operator.manifests.mesh import MESH
from guildnet_operator.views import ContainerView

#: The line in which `tailscale up` says why the control server refused it.
_REFUSED = re.compile(r"^backend error: (.+)$", re.MULTILINE)
_WAITING = {
    "NeedsMachineAuth": "the peer waits for approval on the control server; approve it there",
    "NeedsLogin": "the peer is not logged in to the control server",
    "Stopped": "tailscaled is stopped",
}
_JOINING = "the peer is joining the mesh"


def mesh_peer(o: Observed) -> dict[str, Any] | None:
    """`status.editor.mesh`: the peer as its tailscaled reports it; None unless it is connected."""
    peer = _reported(o)
    if peer is None or not peer.is_running or not peer.addresses:
        return None
    return {"name": peer.name, "id": peer.id, "addresses": list(peer.addresses)}


def mesh_problem(o: Observed) -> str:
    """Why the editor cannot be reached over the mesh; empty if it can, and without a mesh."""
    if o.mesh is None:
        return ""
    peer = _reported(o)
    if peer is not None and peer.is_running:
        return peer.message
    if o.mesh.refusal:
        return o.mesh.refusal
    if o.pod is None or all(c.name != MESH for c in o.pod.containers):
        return "this pod is from before the org's mesh was set up; the task's next start joins it"
    container = o.pod.container(MESH)
    return (
        _container_problem(container)
        or o.mesh.key_error
        or _refused(container)
        or _state_problem(peer)
        or _JOINING
    )


def is_connected(o: Observed) -> bool:
    """Whether the present pod's peer has joined, so that it needs no key any more."""
    peer = _reported(o)
    return peer is not None and peer.is_running


def was_refused(o: Observed) -> bool:
    """Whether the control server refused the present pod's last try to join."""
    return o.pod is not None and bool(_REFUSED.search(o.pod.container(MESH).last_message))


def _reported(o: Observed) -> MeshPeer | None:
    """What the agent in the present pod reports; None for another pod's."""
    if o.mesh is None or o.agent is None or o.pod is None or o.agent.pod != o.pod.uid:
        return None
    state = o.agent_state
    return state.mesh if state is not None else None


def _container_problem(container: ContainerView) -> str:
    if container.waiting in IMAGE_REASONS:
        why = container.message or container.waiting
        return f"the mesh image cannot be pulled: {why}; check mesh.image in the org's file"
    if container.last_reason == "OOMKilled" and not container.running:
        return "tailscaled ran out of memory and is restarted"
    return ""


def _refused(container: ContainerView) -> str:
    """The control server's refusal, as the last try to join logged it."""
    found = _REFUSED.findall(container.last_message)
    if found:
        return f"the control server refused the peer: {strip_urls(found[-1])[:300]}"
    if container.waiting == "CrashLoopBackOff":
        return f"the mesh container keeps ending: {container.message or container.last_reason}"
    return ""


def _state_problem(peer: MeshPeer | None) -> str:
    if peer is None:
        return ""
    known = _WAITING.get(peer.state, "")
    return ": ".join(filter(None, (known or _JOINING, peer.message)))
