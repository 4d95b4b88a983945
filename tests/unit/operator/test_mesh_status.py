"""What EditorReady and `status.editor` say of an agent's peer, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guildnet.agent_api.state import MeshPeer
from guildnet.mesh import MeshSettings, mesh_settings
from guildnet_operator.decisions.inputs import MeshView
from guildnet_operator.decisions.pod_failures import classify
from guildnet_operator.references import mesh_refusal
from guildnet_operator.views import ContainerView, SecretView

PEER = MeshPeer("Running", "7", "fix-login-acme.mesh.test", ("100.64.0.7", "fd7a::7"))
LOG_END = (
    "health(warnable=login-state): error: You are logged out.\nbackend error: authkey expired\n"
    "boot: failed to auth tailscale: tailscale up failed: exit status 1\n"
)


def running_with(scene: Any, container: ContainerView, peer: MeshPeer | None, **mesh: str) -> Any:
    """A task whose command runs, in a pod with a mesh container."""
    scene.mesh = MeshView(**mesh)
    scene.settle()
    pod = scene.add_pod()
    scene.pods[-1] = replace(pod, containers=(*pod.containers, container))
    scene.agent_waits()
    scene.settle()
    scene.agent_says(step="Running", started_at=scene.now, mesh=peer)
    return scene.settle()


def test_a_connected_peer_is_in_status(scene: Any) -> None:
    running_with(scene, ContainerView("mesh", running=True, ready=True), PEER)
    assert scene.condition("EditorReady") == ("True", "Serving")
    assert scene.status["editor"]["mesh"] == {
        "name": "fix-login-acme.mesh.test",
        "id": "7",
        "addresses": ["100.64.0.7", "fd7a::7"],
    }


def test_the_name_that_the_control_server_gave_is_shown(scene: Any) -> None:
    """Somebody else's peer has the name: it is not adopted."""
    taken = replace(PEER, name="fix-login-acme-1.mesh.test")
    running_with(scene, ContainerView("mesh", running=True, ready=True), taken)
    assert scene.status["editor"]["mesh"]["name"] == "fix-login-acme-1.mesh.test"


UP = ContainerView("mesh", running=True, ready=True)


@pytest.mark.parametrize(
    ("container", "peer", "mesh", "cause"),
    [
        (UP, None, {}, "the peer is joining"),
        (UP, MeshPeer("NeedsLogin", message="fetch control key: refused"), {}, "fetch control key"),
        (UP, MeshPeer("NeedsMachineAuth"), {}, "waits for approval"),
        (UP, MeshPeer("Unreachable", message="no socket"), {}, "no socket"),
        (UP, replace(PEER, message="the control server does not answer"), {}, "does not answer"),
        (UP, MeshPeer("NeedsLogin"), {"key_error": "401: revoked"}, "401: revoked"),
        (UP, None, {"refusal": "Secret mesh does not exist"}, "Secret mesh does not exist"),
        (
            ContainerView("mesh", waiting="ImagePullBackOff", message="not found"),
            None,
            {},
            "the mesh image cannot be pulled: not found",
        ),
        (
            ContainerView("mesh", waiting="CrashLoopBackOff", last_message=LOG_END, last_exit=1),
            MeshPeer("Unreachable", message="no socket"),
            {},
            "the control server refused the peer: authkey expired",
        ),
        (ContainerView("other"), None, {}, "the task's next start joins it"),
    ],
)
def test_a_broken_mesh_is_in_editor_ready_alone(
    scene: Any, container: ContainerView, peer: MeshPeer | None, mesh: dict[str, str], cause: str
) -> None:
    running_with(scene, container, peer, **mesh)
    assert scene.condition("EditorReady") == ("False", "MeshUnavailable")
    assert cause in scene.message("EditorReady")
    assert "guildnet editor acme/fix-login" in scene.message("EditorReady")
    assert scene.condition("Ready") == ("True", "AgentServing")
    assert scene.condition("Stalled")[0] == "False"
    assert scene.status["phase"] == "Running"


def test_a_mesh_image_that_is_missing_keeps_no_command_from_starting(scene: Any) -> None:
    container = ContainerView("mesh", waiting="ErrImagePull", message="not found")
    running_with(scene, container, None)
    assert classify(scene.pods[-1]) is None
    assert scene.status["start"] == 1


def test_an_address_of_an_earlier_pod_is_not_shown(scene: Any) -> None:
    running_with(scene, UP, PEER)
    scene.pods.clear()
    scene.settle()
    assert "mesh" not in scene.status["editor"]
    scene.add_pod("pod-2")
    scene.settle()
    assert "mesh" not in scene.status["editor"]


def test_a_finished_tasks_peer_is_followed_while_its_editor_is_kept(scene: Any) -> None:
    running_with(scene, UP, PEER)
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now, mesh=PEER)
    decision = scene.settle()
    assert decision.poll == scene.pods[-1]
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now, mesh=None)
    scene.settle()
    assert scene.condition("EditorReady") == ("False", "MeshUnavailable")
    assert scene.condition("Succeeded") == ("True", "TaskSucceeded")
    scene.pass_time(hours=2)
    assert scene.settle().poll is None


def settings(**given: str) -> MeshSettings:
    server = {"loginServer": "https://hs.example"}
    found = mesh_settings("acme", {"mode": "tailscale", **server, **given})
    assert found is not None
    return found


def secret(*keys: str, use: str = "mesh", host: str = "hs.example") -> dict[str, SecretView]:
    return {"mesh": SecretView("mesh", use, (host,), frozenset(keys))}


VENDOR = "https://controlplane.tailscale.com"
CLIENT = ("client-id", "client-secret")


@pytest.mark.parametrize(
    ("mesh", "found"),
    [
        (settings(apiSecret="mesh"), secret("api-key")),
        (settings(authKeySecret="mesh"), secret("auth-key")),
        (
            settings(apiSecret="mesh", loginServer="http://10.0.0.1:80"),
            secret("api-key", host="http://10.0.0.1"),
        ),
        (
            settings(apiSecret="mesh", loginServer=VENDOR),
            secret(*CLIENT, host="api.tailscale.com"),
        ),
    ],
)
def test_a_labelled_secret_with_the_control_servers_host_may_be_used(
    mesh: MeshSettings, found: dict[str, SecretView]
) -> None:
    assert mesh_refusal(mesh, "acme", found) == ""


@pytest.mark.parametrize(
    ("mesh", "found", "message"),
    [
        (settings(apiSecret="mesh"), {}, "does not exist"),
        (settings(apiSecret="mesh"), secret("api-key", use="git"), "is for git"),
        (settings(apiSecret="mesh"), secret("auth-key"), "has no key api-key"),
        (settings(authKeySecret="mesh"), secret("api-key"), "has no key auth-key"),
        (settings(apiSecret="mesh"), secret("api-key", host="evil.example"), "may not be used"),
        (
            settings(apiSecret="mesh", loginServer="http://hs.example"),
            secret("api-key"),
            "may not be used for http://hs.example",
        ),
        (settings(apiSecret="mesh"), secret(*CLIENT, host="api.tailscale.com"), "OAuth client"),
        (settings(apiSecret="mesh"), secret("client-id", host="api.tailscale.com"), "no key"),
        (
            settings(apiSecret="mesh", loginServer=VENDOR),
            secret("api-key", host="controlplane.tailscale.com"),
            "is a Headscale API key",
        ),
    ],
)
def test_a_credential_goes_to_no_other_host(
    mesh: MeshSettings, found: dict[str, SecretView], message: str
) -> None:
    refusal = mesh_refusal(mesh, "acme", found)
    assert message in refusal
    assert "mesh" in refusal
