"""`guildnet org install --mesh`: the peer that serves the cluster's API server on a mesh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from guildnet import kube, labels
from guildnet.errors import ConfigurationError, KubeForbidden, KubeUnavailable
from guildnet.mesh import CLUSTER_PORT, CLUSTER_TAG, cluster_peer_name
from guildnet.secrets import entry_for
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.output import say
from guildnet_operator.cluster_peer import (
    API_SERVER,
    LOGIN_SERVER,
    ClusterPeer,
    peer_manifests,
    peer_object_name,
)
from guildnet_operator.references import AUTH_KEY

# The Deployment last: it may be the way to this cluster.
_KINDS = (kube.NETWORK_POLICIES, kube.PERSISTENT_VOLUME_CLAIMS, kube.DEPLOYMENTS)


async def wanted_peer(
    cluster: OrgCluster, *, login_server: str | None, image: str | None, is_new: bool
) -> list[dict[str, Any]]:
    """The peer's manifests: with `is_new` of one that may not exist yet; otherwise those of the
    installed one, and none where it is not installed.

    An installed peer keeps its control server and its image unless others are given. Raises
    ConfigurationError without a control server.
    """
    from guildnet_operator.install import API_SERVER_PORTS
    from guildnet_operator.settings import DEFAULT_MESH_IMAGE

    name = peer_object_name(cluster.namespace)
    async with cluster.client() as client:
        installed = await client.find(kube.DEPLOYMENTS, name, labels.OPERATOR_NAMESPACE)
        if installed is None and not is_new:
            return []
        chosen = login_server or _login_server(installed)
        if chosen is None:
            raise ConfigurationError(
                "the mesh's control server is not known",
                place=f"org {cluster.org}",
                cure="Give it with --mesh-login-server, or set spec.mesh.loginServer in the org's "
                "file and run this in a checkout.",
            )
        peer = ClusterPeer(
            org=cluster.org,
            namespace=cluster.namespace,
            image=image or _image(installed) or DEFAULT_MESH_IMAGE,
            login_server=chosen,
            api_server_ports=tuple(sorted({*API_SERVER_PORTS, cluster.api_server_port()})),
            api_server=await _api_server(client),
        )
    return peer_manifests(peer)


async def remove_peer(cluster: OrgCluster, timeout: timedelta) -> None:
    """Delete the peer's objects, and with them its identity; its Secret stays.

    Waits until they are gone: a new peer must not get the old one's volume. Raises KubeUnavailable
    after `timeout`.
    """
    name, found = peer_object_name(cluster.namespace), False
    async with cluster.client() as client:
        for kind in _KINDS:
            obj = await client.find(kind, name, labels.OPERATOR_NAMESPACE)
            if obj is None:
                continue
            found = True
            await client.delete(kind, name, labels.OPERATOR_NAMESPACE)
            say(f"deleted {kind.kind} {labels.OPERATOR_NAMESPACE}/{name}")
        if found:
            await _until_gone(client, name, timeout)
            say(
                f"Remove the peer {cluster_peer_name(cluster.org)} from the control server as well."
            )


async def _until_gone(client: kube.KubeClient, name: str, timeout: timedelta) -> None:
    deadline = time.monotonic() + timeout.total_seconds()
    for kind in _KINDS:
        while True:
            try:
                if await client.find(kind, name, labels.OPERATOR_NAMESPACE) is None:
                    break
            except KubeUnavailable as error:
                say(f"The cluster does not answer any more, as expected over the mesh: {error}")
                return
            if time.monotonic() > deadline:
                raise KubeUnavailable(
                    f"{kind.kind} {name} is deleted, but still there",
                    place=f"{client.place}: {labels.OPERATOR_NAMESPACE}",
                    cure="Look for the pod that uses it, then run this again.",
                )
            await asyncio.sleep(0.5)


def next_steps(org: str) -> str:
    """What to do on the reconciler's machine once the peer is up."""
    return (
        f"The API server is on the mesh as {cluster_peer_name(org)}:{CLUSTER_PORT}. Next, on a "
        f"machine of the mesh: guildnet org add {org} --kubeconfig FILE --mesh"
    )


async def check_key(cluster: OrgCluster, objects: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigurationError where the peer of these manifests is new and has no key to join."""
    [login_server] = filter(None, map(_login_server, objects))
    name = peer_object_name(cluster.namespace)
    async with cluster.client() as client:
        if await client.find(kube.DEPLOYMENTS, name, labels.OPERATOR_NAMESPACE) is not None:
            return
        secret = await client.find(kube.SECRETS, name, labels.OPERATOR_NAMESPACE) or {}
    use = (secret.get("metadata", {}).get("labels") or {}).get(labels.USE)
    if use == "mesh" and AUTH_KEY in (secret.get("data") or {}):
        return
    problem = "is missing" if not secret else f"has no key {AUTH_KEY}, or is not for use mesh"
    raise ConfigurationError(
        f"the peer needs an auth key to join the mesh, and its Secret {problem}",
        place=f"Secret {labels.OPERATOR_NAMESPACE}/{name}",
        cure=f"Make a key on the control server with the tag {CLUSTER_TAG}, not ephemeral, single "
        f"use, and store it: guildnet secret set {cluster.org} {name} --namespace "
        f"{labels.OPERATOR_NAMESPACE} --use mesh --key {AUTH_KEY} --host {entry_for(login_server)} "
        "< auth-key",
    )


def _login_server(installed: Mapping[str, Any] | None) -> str | None:
    annotations = (installed or {}).get("metadata", {}).get("annotations") or {}
    found = annotations.get(LOGIN_SERVER)
    return str(found) if found else None


def _image(installed: Mapping[str, Any] | None) -> str | None:
    if installed is None:
        return None
    return str(installed["spec"]["template"]["spec"]["containers"][0]["image"])


async def _api_server(client: kube.KubeClient) -> str:
    """The address of the Service `kubernetes`; its name where it may not be read."""
    try:
        service = await client.find(kube.SERVICES, "kubernetes", "default")
    except KubeForbidden:
        return API_SERVER
    address = str((service or {}).get("spec", {}).get("clusterIP") or "")
    if not address or address == "None":
        return API_SERVER
    return f"[{address}]:443" if ":" in address else f"{address}:443"
