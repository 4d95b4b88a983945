"""The peer that serves the cluster's API server on a mesh: what `guildnet org install --mesh`
applies. Pure.

A userspace tailscaled forwards TCP to the Service `kubernetes`; TLS passes through it untouched,
so it can read nothing and needs no credential of the cluster. Its state is in a PVC, so that a
restarted pod is the same peer with the same name: an ephemeral peer would come back as another,
named `<org>-api-1` until the control server has forgotten the first. Kept in a Secret, as
containerboot can, the state would require a Kubernetes token in this pod.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from guildnet import labels
from guildnet.mesh import CLUSTER_PORT, cluster_peer_name
from guildnet_operator.references import AUTH_KEY, AUTHORITIES

LOGIN_SERVER = f"{labels.GROUP}/mesh-login-server"
SERVE = f"{labels.GROUP}/mesh-serve"
API_SERVER = "kubernetes.default.svc:443"
"""Where pods reach the API server by name; its address needs no cluster DNS."""

_NAME = "guildnet-mesh"
_INSTANCE = "app.kubernetes.io/instance"
_STATE_DIR = "/var/lib/guildnet-mesh"
_FILES_DIR = "/run/guildnet/mesh-files"
_HEALTH_PORT = 9002
_LINK_LOCAL = {"0.0.0.0/0": "169.254.0.0/16", "::/0": "fe80::/10"}


@dataclass(frozen=True, slots=True)
class ClusterPeer:
    """The peer of an org's cluster. `api_server` is the `HOST:PORT` that it forwards to, and
    `api_server_ports` are those where API servers may listen behind it."""

    org: str
    namespace: str
    image: str
    login_server: str
    api_server_ports: tuple[int, ...]
    api_server: str = API_SERVER


def peer_object_name(namespace: str) -> str:
    """The name of the peer's objects, and of the Secret with its key, in `guildnet-system`."""
    return f"{_NAME}-{namespace}"


def peer_manifests(peer: ClusterPeer) -> list[dict[str, Any]]:
    """The objects, in the order in which to apply them."""
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "64Mi"}},
    }
    return [
        {**_object(peer, "v1", "PersistentVolumeClaim"), "spec": claim},
        {**_object(peer, "networking.k8s.io/v1", "NetworkPolicy"), "spec": _policy(peer)},
        _deployment(peer),
    ]


def _object(peer: ClusterPeer, api_version: str, kind: str) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": peer_object_name(peer.namespace),
            "namespace": labels.OPERATOR_NAMESPACE,
            "labels": _labels(peer),
        },
    }


def _selector(peer: ClusterPeer) -> dict[str, str]:
    return {labels.APP_NAME: _NAME, _INSTANCE: peer.namespace}


def _labels(peer: ClusterPeer) -> dict[str, str]:
    return {**_selector(peer), labels.MANAGED_BY: "guildnet", labels.ORG: peer.org}


def _policy(peer: ClusterPeer) -> dict[str, Any]:
    """Nothing comes in but over the mesh, whose packets answer the peer's own. Peers and relays can
    have any address but a node's metadata service's; some network plugins apply ipBlock to
    addresses outside the cluster only, so DNS and API servers have rules of their own."""
    to = [{"ipBlock": {"cidr": cidr, "except": [local]}} for cidr, local in _LINK_LOCAL.items()]
    ports = [(53, "UDP"), (53, "TCP"), *((port, "TCP") for port in peer.api_server_ports)]
    return {
        "podSelector": {"matchLabels": _selector(peer)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [],
        "egress": [
            {"to": to},
            {"ports": [{"port": number, "protocol": protocol} for number, protocol in ports]},
        ],
    }


def _deployment(peer: ClusterPeer) -> dict[str, Any]:
    made = _object(peer, "apps/v1", "Deployment")
    made["metadata"]["annotations"] = {LOGIN_SERVER: peer.login_server}
    serve = {"TCP": {str(CLUSTER_PORT): {"TCPForward": peer.api_server}}}
    template = {
        "metadata": {"labels": _labels(peer), "annotations": {SERVE: json.dumps(serve)}},
        "spec": _pod(peer),
    }
    made["spec"] = {
        "replicas": 1,
        # One pod at a time may use the state.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": _selector(peer)},
        "template": template,
    }
    return made


def _pod(peer: ClusterPeer) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": labels.MESH_UID,
            "runAsGroup": labels.AGENT_GROUP,
            # The state's volume belongs to this group.
            "fsGroup": labels.AGENT_GROUP,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(peer)],
        "volumes": [
            {
                "name": "state",
                "persistentVolumeClaim": {"claimName": peer_object_name(peer.namespace)},
            },
            {"name": "files", "projected": _files(peer)},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        ],
    }


def _container(peer: ClusterPeer) -> dict[str, Any]:
    health = {"httpGet": {"path": "/healthz", "port": _HEALTH_PORT}}
    return {
        "name": "mesh",
        "image": peer.image,
        "env": [{"name": name, "value": value} for name, value in environment(peer).items()],
        # The log's end says why tailscaled could not join.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": {
            "requests": {"cpu": "20m", "memory": "64Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": _STATE_DIR},
            {"name": "files", "mountPath": _FILES_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a path in the pod
        ],
    }


def environment(peer: ClusterPeer) -> dict[str, str]:
    """The settings of containerboot: https://tailscale.com/kb/1282/docker."""
    return {
        "HOME": "/tmp",  # noqa: S108  a path in the pod
        "SSL_CERT_DIR": f"/etc/ssl/certs:{_FILES_DIR}/authorities",
        "TS_USERSPACE": "true",
        "TS_KUBE_SECRET": "",
        "TS_ACCEPT_DNS": "false",
        "TS_NO_LOGS_NO_SUPPORT": "true",
        "TS_HOSTNAME": cluster_peer_name(peer.org),
        "TS_STATE_DIR": _STATE_DIR,
        "TS_SOCKET": "/tmp/tailscaled.sock",  # noqa: S108
        "TS_SERVE_CONFIG": f"{_FILES_DIR}/serve.json",
        "TS_AUTHKEY": f"file:{_FILES_DIR}/{AUTH_KEY}",
        # The key is needed once; the state outlives it.
        "TS_AUTH_ONCE": "true",
        "TS_ENABLE_HEALTH_CHECK": "true",
        "TS_LOCAL_ADDR_PORT": f"[::]:{_HEALTH_PORT}",
        # tailscaled tries again by itself while the control server is away.
        "TS_BOOT_TIMEOUT": "1h",
        "TS_EXTRA_ARGS": f"--login-server={peer.login_server}",
    }


def _files(peer: ClusterPeer) -> dict[str, Any]:
    """The key and the control server's authorities, both optional, and what to serve."""
    items = [
        {"key": AUTH_KEY, "path": AUTH_KEY},
        {"key": AUTHORITIES, "path": f"authorities/{AUTHORITIES}"},
    ]
    name = peer_object_name(peer.namespace)
    field = {"fieldPath": f"metadata.annotations['{SERVE}']"}
    return {
        "defaultMode": 0o440,
        "sources": [
            {"secret": {"name": name, "items": items, "optional": True}},
            {"downwardAPI": {"items": [{"path": "serve.json", "fieldRef": field}]}},
        ],
    }
