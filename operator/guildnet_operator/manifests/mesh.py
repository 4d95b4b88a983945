"""The mesh part of the pod: a userspace tailscaled that serves the editor's port. Pure.

A container beside `work` and after it, not a sidecar before it: the kubelet starts `work` only
after each sidecar's image is there, and a missing image of the mesh must not keep the command from
starting.

The environment is that of `containerboot`, the entry point of the official image and of GuildNet's
own: https://tailscale.com/kb/1282/docker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from guildnet import labels
from guildnet.mesh import MeshSettings, peer_name
from guildnet_operator.manifests.containers import PodPart, mount, security_context, variable
from guildnet_operator.manifests.metadata import Plan
from guildnet_operator.manifests.resources import mesh_resources
from guildnet_operator.references import AUTH_KEY, AUTHORITIES

MESH = "mesh"
MESH_SOCKET = "mesh-socket"
MESH_SOCKET_DIR = "/run/guildnet/mesh"
#: The key of the agent's own Secret that holds the auth key of its next pod.
MESH_KEY = "mesh-auth-key"
SERVE_ANNOTATION = f"{labels.GROUP}/mesh-serve"

_STATE_DIR = "/var/lib/guildnet-mesh"
_FILES_DIR = "/run/guildnet/mesh-files"
_AUTHORITIES_DIR = "/run/guildnet/mesh-authorities"
_IN_MEMORY = {"medium": "Memory", "sizeLimit": "16Mi"}
# The port of the editor and nothing else. `work` is in the same network namespace.
_SERVE = {"TCP": {str(labels.EDITOR_PORT): {"TCPForward": f"127.0.0.1:{labels.EDITOR_PORT}"}}}


def mesh(plan: Plan) -> PodPart:
    """The container of the peer; nothing without a mesh, or without an editor to serve."""
    settings = plan.mesh
    if settings is None:
        return PodPart()
    return PodPart(
        containers=(_container(plan, settings),),
        volumes=(
            {"name": "mesh-files", "projected": _files(plan, settings)},
            {"name": "mesh-authorities", "secret": _authorities(settings)},
            *({"name": n, "emptyDir": _IN_MEMORY} for n in (MESH_SOCKET, "mesh-state", "mesh-tmp")),
        ),
        annotations={SERVE_ANNOTATION: json.dumps(_SERVE)},
    )


def _container(plan: Plan, settings: MeshSettings) -> dict[str, Any]:
    return {
        "name": MESH,
        "image": settings.image or plan.mesh_image,
        "env": [variable(name, value) for name, value in _environment(plan, settings)],
        # The log's end says why tailscaled could not join.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": mesh_resources(plan.limit_range_resources),
        "securityContext": security_context(labels.MESH_UID),
        "volumeMounts": [
            mount("mesh-files", _FILES_DIR, read_only=True),
            mount("mesh-authorities", _AUTHORITIES_DIR, read_only=True),
            mount(MESH_SOCKET, MESH_SOCKET_DIR),
            mount("mesh-state", _STATE_DIR),
            mount("mesh-tmp", "/tmp"),  # noqa: S108  a path in the pod
        ],
    }


def _environment(plan: Plan, settings: MeshSettings) -> Iterator[tuple[str, str]]:
    yield "HOME", "/tmp"  # noqa: S108
    # Beside the system's, which are found by SSL_CERT_FILE's default.
    yield "SSL_CERT_DIR", f"/etc/ssl/certs:{_AUTHORITIES_DIR}"
    yield "TS_USERSPACE", "true"
    yield "TS_KUBE_SECRET", ""
    yield "TS_ACCEPT_DNS", "false"
    yield "TS_NO_LOGS_NO_SUPPORT", "true"
    yield "TS_HOSTNAME", peer_name(plan.task.name, plan.task.org or plan.org.org)
    yield "TS_SOCKET", f"{MESH_SOCKET_DIR}/tailscaled.sock"
    yield "TS_SERVE_CONFIG", f"{_FILES_DIR}/serve.json"
    yield "TS_AUTHKEY", f"file:{_FILES_DIR}/{AUTH_KEY}"
    yield "TS_AUTH_ONCE", "true"
    # tailscaled tries again by itself while the control server is away; a container that ends and
    # is started again would wait up to 5 min for its next try.
    yield "TS_BOOT_TIMEOUT", "1h"
    arguments = [f"--login-server={settings.login_server}"]
    if settings.api_secret:
        # The state outlives the container, so that a killed tailscaled comes back as the same
        # peer without another key. The operator removes the peer.
        yield "TS_STATE_DIR", _STATE_DIR
    elif settings.given_tags:
        arguments.append(f"--advertise-tags={','.join(settings.given_tags)}")
    # Without a state folder, tailscaled logs out when it is stopped: with an auth key of the org
    # nobody else removes the peer.
    yield "TS_EXTRA_ARGS", " ".join(arguments)


def _authorities(settings: MeshSettings) -> dict[str, Any]:
    items = [{"key": AUTHORITIES, "path": AUTHORITIES}]
    return {"secretName": settings.secret, "items": items, "optional": True, "defaultMode": 0o440}


def _files(plan: Plan, settings: MeshSettings) -> dict[str, Any]:
    """The auth key, which may come later than the pod, and what to serve."""
    if settings.api_secret:
        secret, key = plan.name, MESH_KEY
    else:
        secret, key = settings.secret, AUTH_KEY
    items = [{"key": key, "path": AUTH_KEY}]
    path = f"metadata.annotations['{SERVE_ANNOTATION}']"
    serve = {"path": "serve.json", "fieldRef": {"fieldPath": path}}
    return {
        "defaultMode": 0o440,
        "sources": [
            {"secret": {"name": secret, "items": items, "optional": True}},
            {"downwardAPI": {"items": [serve]}},
        ],
    }
