"""`guildnet org install`: apply the CRD and the operator's manifests, and wait for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import yaml

from guildnet import kube, schema
from guildnet.errors import (
    KubeError,
    KubeForbidden,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.output import printable, say
from guildnet_operator.lookups.dns_servers import NAMESPACE as DNS_NAMESPACE

FIELD_MANAGER = "guildnet-cli"
_ORDER = {"Namespace": 0, "CustomResourceDefinition": 1, "Deployment": 3}


def manifests(
    cluster: OrgCluster,
    *,
    image: str | None,
    work_image: str | None,
    mesh_image: str | None = None,
) -> list[dict[str, Any]]:
    """The CRD and the operator's manifests, in the order to apply them."""
    from guildnet_operator.install import API_SERVER_PORTS
    from guildnet_operator.install import manifests as operator_manifests
    from guildnet_operator.settings import DEFAULT_IMAGE, DEFAULT_MESH_IMAGE, DEFAULT_WORK_IMAGE

    chosen = image or DEFAULT_IMAGE
    own = operator_manifests(
        namespace=cluster.namespace,
        image=chosen,
        agent_image=chosen,
        work_image=work_image or DEFAULT_WORK_IMAGE,
        mesh_image=mesh_image or DEFAULT_MESH_IMAGE,
        org=cluster.org,
        # Pods reach the API server behind its Service: often at the port that we use, too.
        api_server_ports=sorted({*API_SERVER_PORTS, cluster.api_server_port()}),
    )
    return in_order([schema.crd(), *own])


def in_order(objects: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Namespaces, the CRD, what Deployments depend on, and Deployments last. Pure."""
    return sorted(map(dict, objects), key=lambda o: _ORDER.get(str(o["kind"]), 2))


class _Plain(yaml.SafeDumper):
    """Writes a repeated value out again: kubectl does not read aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    """The objects as one YAML stream, for `kubectl apply` or a repository of manifests."""
    return "---\n".join(
        yaml.dump(dict(o), Dumper=_Plain, sort_keys=False, allow_unicode=True) for o in objects
    ).rstrip("\n")


async def install(
    cluster: OrgCluster, objects: Sequence[Mapping[str, Any]], timeout: timedelta
) -> None:
    """Apply the objects and wait until the CRD is established and every Deployment available.

    Raises KubeUnavailable after `timeout`, with the reason that the cluster reports.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    async with cluster.client() as client:
        for obj in objects:
            if not await _is_applied(client, obj):
                continue
            say(f"applied {_name(obj)}")
            if obj["kind"] == "CustomResourceDefinition":
                await _until(client, obj, _is_established, deadline)
        for obj in objects:
            if obj["kind"] == "Deployment":
                await _until(client, obj, _is_available, deadline)
                say(f"ready   {_name(obj)}")


async def _is_applied(client: kube.KubeClient, obj: Mapping[str, Any]) -> bool:
    """Apply an object. Returns False for RBAC in kube-system that the user may not grant: the
    operator works without it."""
    try:
        await _apply(client, obj)
    except (KubeForbidden, KubeNotFound) as error:
        if obj["metadata"].get("namespace") != DNS_NAMESPACE:
            raise
        say(
            f"skipped {_name(obj)}: {printable(error.message)}. The operator will find "
            "the DNS pods by their well-known labels; check with `guildnet doctor`"
        )
        return False
    return True


async def _apply(client: kube.KubeClient, obj: Mapping[str, Any]) -> None:
    if obj["kind"] == "Namespace":
        meta = obj["metadata"]
        await client.ensure_namespace(meta["name"], meta.get("labels", {}))
        return
    try:
        await client.apply(obj, field_manager=FIELD_MANAGER)
    except KubeInvalid as error:
        raise KubeInvalid(
            error.message,
            place=f"{client.place}: {_name(obj)}",
            cure="The cluster may be older than supported, or the object was created by another "
            "tool: delete it and install again.",
            status=error.status,
            reason=error.reason,
        ) from error


async def _until(
    client: kube.KubeClient, obj: Mapping[str, Any], holds: Any, deadline: float
) -> None:
    meta = obj["metadata"]
    kind = kube.kind_of(obj)
    while True:
        try:
            found = await client.get(kind, meta["name"], meta.get("namespace"))
        except KubeUnavailable:
            # The peer that is being replaced may be the way to this cluster.
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)
            continue
        if holds(found):
            return
        if time.monotonic() > deadline:
            raise KubeUnavailable(
                f"not ready in time: {await _reasons(client, found)}",
                place=f"{client.place}: {_name(obj)}",
                cure="Check that a node can pull and start its image, run `guildnet doctor`, and "
                "install again.",
            )
        await asyncio.sleep(0.5)


def _is_established(crd: Mapping[str, Any]) -> bool:
    return _condition(crd, "Established") == "True"


def _is_available(deployment: Mapping[str, Any]) -> bool:
    """Whether all replicas run the newest template and are available."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("availableReplicas", 0) >= wanted
        and status.get("replicas", 0) <= wanted
    )


def _condition(obj: Mapping[str, Any], kind: str) -> str:
    found = [c for c in (obj.get("status", {}).get("conditions") or ()) if c["type"] == kind]
    return str(found[0]["status"]) if found else "Unknown"


async def _reasons(client: kube.KubeClient, obj: Mapping[str, Any]) -> str:
    """What a Deployment's pods wait for, and the messages of its conditions."""
    messages = [c.get("message", "") for c in (obj.get("status", {}).get("conditions") or ())]
    selector = obj["spec"].get("selector", {}).get("matchLabels", {})
    if selector:
        wanted = ",".join(f"{key}={value}" for key, value in selector.items())
        try:
            pods = await client.list_all(
                kube.PODS, obj["metadata"]["namespace"], label_selector=wanted
            )
        except KubeError:
            pods = []
        messages = [*_waits(pods), *messages]
    return printable("; ".join(filter(None, dict.fromkeys(messages)))) or "no reason reported"


def _waits(pods: Sequence[Mapping[str, Any]]) -> list[str]:
    waits = []
    for pod in pods:
        status = pod.get("status", {})
        for container in status.get("containerStatuses", ()):
            waiting = container.get("state", {}).get("waiting")
            if waiting:
                waits.append(f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip())
        waits += [
            c.get("message", "") for c in status.get("conditions", ()) if c["status"] == "False"
        ]
    return waits


def _name(obj: Mapping[str, Any]) -> str:
    namespace = obj["metadata"].get("namespace")
    return f"{obj['kind']} {namespace + '/' if namespace else ''}{obj['metadata']['name']}"
