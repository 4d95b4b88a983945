"""The checks of `guildnet doctor` for an org with a mesh, or with a cluster behind one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from guildnet import kube, labels
from guildnet.errors import KubeError, KubeForbidden, KubeNotFound, MeshError, MeshUnavailable
from guildnet.mesh import MeshSettings, cluster_peer_name, mesh_policy
from guildnet.text import clean_text
from guildnet.units import parse_time
from guildnet_cli.cluster.checks import CheckResult
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.mesh.policy_check import NotPlain, differences, parse_policy
from guildnet_operator.cluster_peer import peer_object_name
from guildnet_operator.mesh.api import ControlApi
from guildnet_operator.mesh.credentials import Credentials
from guildnet_operator.references import AUTHORITIES, CLIENT_ID, CONTROL_KEY, mesh_refusal
from guildnet_operator.views import OrgSettings, org_settings, secret_view

_SOON = timedelta(days=3)
_POLICY_CURE = (
    "In a checkout: guildnet mesh policy > policy.hujson; merge it with your own rules, and put "
    "it in force: headscale policy set --file policy.hujson."
)


async def mesh_checks(client: kube.KubeClient, cluster: OrgCluster) -> list[CheckResult]:
    """The results; none for an org without a mesh whose API server is not on one either."""
    try:
        found = await client.find(kube.CONFIG_MAPS, labels.ORG_CONFIG_MAP, cluster.namespace)
        settings = org_settings(found) if found else OrgSettings()
        of_agents = [check async for check in _of_agents(client, settings)]
        return [*of_agents, *await _cluster_peer(client, cluster)]
    except KubeError as error:
        return [CheckResult("mesh", True, f"not checked: {error.message}")]


async def _of_agents(client: kube.KubeClient, org: OrgSettings) -> AsyncIterator[CheckResult]:
    mesh = org.mesh
    if mesh is None:
        return
    secret = await client.find(kube.SECRETS, mesh.secret) or {}
    views = {mesh.secret: secret_view(secret)} if secret else {}
    refusal = mesh_refusal(mesh, org.org, views)
    if refusal:
        yield CheckResult("mesh Secret", False, refusal, _secret_cure(org.org, mesh))
        return
    values = _values(secret)
    yield CheckResult("mesh Secret", True, f"{mesh.secret}: {_kind(mesh, values)}")
    api = ControlApi(
        mesh.login_server, secrets=[*values.values()], authorities=values.get(AUTHORITIES)
    )
    reached = await _control_server(client, org, mesh, api)
    yield reached
    if reached.good and mesh.api_secret and CONTROL_KEY in values:
        yield await _key(api, values[CONTROL_KEY])
        yield await _policy(api, values[CONTROL_KEY], org.org, mesh)
    elif reached.good:
        why = "Tailscale's is edited in its admin console" if mesh.api_secret else "no API key"
        yield CheckResult("mesh policy", True, f"not compared: {why}; see `guildnet mesh policy`")


def _kind(mesh: MeshSettings, values: Mapping[str, str]) -> str:
    """What kind of credential it is, and what a weaker one costs."""
    if mesh.auth_key_secret:
        return (
            "an auth key that all agents share. Whoever obtains it can join as an agent until it "
            "expires or is revoked, and peers of killed pods stay until the control server "
            "forgets them; apiSecret makes a single-use key for each start instead"
        )
    if CLIENT_ID in values:
        return "an OAuth client of Tailscale; each start gets a single-use key"
    return "a Headscale API key; each start gets a single-use key"


def _secret_cure(org: str, mesh: MeshSettings) -> str:
    host = f"{mesh.address[0]}:{mesh.address[1]}"
    return f"guildnet secret set {org} {mesh.secret} --use mesh --host {host} (see docs/mesh.md)"


async def _control_server(
    client: kube.KubeClient, org: OrgSettings, mesh: MeshSettings, api: ControlApi
) -> CheckResult:
    """Whether it answers, and accepts the credential, from this machine."""
    name = "mesh control server"
    try:
        if mesh.auth_key_secret:
            await api.request("GET", "/key", query={"v": "100"})
            return CheckResult(name, True, f"{mesh.login_server} answers")
        server, _ = await Credentials(client).connect(org, mesh)
        peers = await server.peers()
    except MeshError as error:
        away = " from this machine" if isinstance(error, MeshUnavailable) else ""
        message = f"{mesh.login_server} cannot be used{away}: {error.message}"
        return CheckResult(name, False, message, error.cure or "")
    return CheckResult(
        name, True, f"{mesh.login_server} accepts the credential; {len(peers)} peers of this org"
    )


async def _key(api: ControlApi, key: str) -> CheckResult:
    """When the Headscale API key ends."""
    prefix = key.partition(".")[0]
    try:
        answer = await api.request("GET", "/api/v1/apikey", token=key)
        ends = [
            parse_time(str(found["expiration"]))
            for found in answer["apiKeys"]
            if prefix.endswith(str(found["prefix"])) and found.get("expiration")
        ]
    except (MeshError, ValueError, TypeError, KeyError, AttributeError) as error:
        return CheckResult("mesh key", True, f"not checked: {clean_text(str(error), 200)}")
    if not ends:
        return CheckResult("mesh key", True, "its end is not known")
    left = ends[0] - datetime.now(UTC)
    message = f"the API key expires on {ends[0]:%Y-%m-%d}, in {left.days} days"
    cure = "Make another with `headscale apikeys create`, and store it with `guildnet secret set`."
    return CheckResult("mesh key", left > _SOON, message, "" if left > _SOON else cure)


async def _policy(api: ControlApi, key: str, org: str, mesh: MeshSettings) -> CheckResult:
    """Whether the policy in force has the org's rules, and no other for its peers."""
    name = "mesh policy"
    try:
        answer = await api.request("GET", "/api/v1/policy", token=key)
        text = str(answer.get("policy") or "")
    except MeshError as error:
        if "not found" not in error.message:
            return CheckResult(name, True, f"not compared: {error.message}")
        text = ""
    if not text.strip():
        message = "none is in force: every peer reaches every other"
        return CheckResult(name, False, message, _POLICY_CURE)
    try:
        found = differences(mesh_policy({org: mesh}), parse_policy(text), mesh.tags)
    except NotPlain as error:
        return CheckResult(name, True, f"not compared: {error}")
    if found:
        shown = clean_text("; ".join(found), 1000)
        return CheckResult(
            name, False, f"it is not that of `guildnet mesh policy`: {shown}", _POLICY_CURE
        )
    tags = ", ".join(mesh.tags)
    people = f"{len(mesh.people)} people reach {tags}" if mesh.people else f"nobody reaches {tags}"
    return CheckResult(name, True, f"as `guildnet mesh policy` prints it: {people}")


async def _cluster_peer(client: kube.KubeClient, cluster: OrgCluster) -> list[CheckResult]:
    """The peer that serves the API server, where one is installed."""
    name, namespace = peer_object_name(cluster.namespace), labels.OPERATOR_NAMESPACE
    try:
        found = await client.find(kube.DEPLOYMENTS, name, namespace)
    except (KubeForbidden, KubeNotFound) as error:
        return [CheckResult("mesh API peer", True, f"not checked: {error.message}")]
    if found is None:
        return []
    own = cluster_peer_name(cluster.org)
    if found.get("status", {}).get("availableReplicas"):
        return [CheckResult("mesh API peer", True, f"{own} is on the mesh")]
    return [
        CheckResult(
            "mesh API peer",
            False,
            f"{namespace}/{name} has no available pod, so {own} is not on the mesh",
            f"Read its log: kubectl -n {namespace} logs deploy/{name}. A peer that lost its "
            "volume needs a new auth key: see docs/mesh.md.",
        )
    ]


def _values(secret: Mapping[str, Any]) -> dict[str, str]:
    found = secret.get("data") or {}
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in found.items()}
