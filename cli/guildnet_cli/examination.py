"""`guildnet doctor`: what an org's cluster needs, checked one by one, each with its cure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from guildnet import kube, labels, schema
from guildnet.errors import KubeError, KubeForbidden, KubeNotFound
from guildnet_cli.org_cluster import OrgCluster
from guildnet_cli.output import table
from guildnet_operator.lookups import dns_servers

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_POD_SECURITY = "pod-security.kubernetes.io/enforce"
#: An operator renews its Lease every few seconds; after this long it is gone or hangs.
_LEASE_OLD = timedelta(seconds=30)
#: The nodes of a cluster are set up alike, as a rule.
_NODES_ASKED = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is as it must be, what it is, what to do."""

    check: str
    good: bool
    message: str
    cure: str = ""


async def examine_all(clusters: Sequence[OrgCluster]) -> dict[str, list[Finding]]:
    """The findings of each org, side by side: a dead cluster holds up no other (I3)."""
    found = await asyncio.gather(*(examine(cluster) for cluster in clusters))
    return {cluster.org: findings for cluster, findings in zip(clusters, found, strict=True)}


async def examine(cluster: OrgCluster) -> list[Finding]:
    """All checks of one cluster; without an answer only the first."""
    install = f"Run `guildnet org install {cluster.org}`."
    async with cluster.client() as client:
        try:
            version = await client.version()
        except KubeError as error:
            told = f"{error.place or client.place}: {error.message}"
            return [Finding("reach", False, told, _reach_cure(cluster))]
        return [
            Finding("reach", True, f"{client.place} answers, {version}"),
            await _checked("definition", _definition(client), install),
            await _checked("namespace", _namespace(client, cluster), install),
            await _checked(
                "pod security",
                _pod_security(client, cluster),
                f"{install} By hand: kubectl label --overwrite namespace {cluster.namespace} "
                f"{_POD_SECURITY}=restricted",
            ),
            await _checked(
                "permission",
                _permission(client, cluster),
                "Give the kubeconfig's user rights on AgentTasks in the namespace.",
            ),
            await _checked(
                "storage class",
                _storage_class(client),
                "Mark one as the default, or name one in spec.agent.workspace.storageClass.",
            ),
            await _checked("operator", _operator(client, cluster), install),
            await _checked("cluster DNS", _dns(client, cluster), install),
            await _checked("process limit", _process_limit(client), ""),
            await _checked(
                "operator alive",
                _lease(client, cluster),
                f"See what the operator says: kubectl -n {labels.OPERATOR_NAMESPACE} logs "
                f"-l {labels.APP_NAME}={labels.OPERATOR}",
            ),
        ]


def _reach_cure(cluster: OrgCluster) -> str:
    return (
        f"Check that the cluster runs and is reachable from here, and that {cluster.kubeconfig} "
        f"is still right; store a new one with `guildnet org add {cluster.org} --kubeconfig FILE`."
    )


class Fault(Exception):
    """A check found something wrong; the text says what."""


async def _checked(name: str, check: Any, cure: str) -> Finding:
    try:
        return Finding(name, True, await check)
    except Fault as fault:
        return Finding(name, False, str(fault), cure)
    except KubeNotFound as error:
        return Finding(name, False, f"missing: {error.message}", cure)
    except KubeError as error:
        return Finding(name, False, error.message, error.cure or cure)


async def _definition(client: kube.KubeClient) -> str:
    wanted = schema.crd()
    name = wanted["metadata"]["name"]
    found = await client.get(kube.CUSTOM_RESOURCE_DEFINITIONS, name)
    served = [v for v in found["spec"]["versions"] if v["name"] == labels.VERSION]
    if not served or not served[0].get("served"):
        raise Fault(f"{name} does not serve {labels.VERSION}")
    known = _fields(served[0]["schema"]["openAPIV3Schema"])
    missing = _fields(wanted["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) - known
    if missing:
        raise Fault(f"{name} is another version's: it lacks {', '.join(sorted(missing)[:5])}")
    return f"{name} serves {labels.VERSION}"


def _fields(node: Any, prefix: str = "") -> set[str]:
    """Every field that a schema names, dotted."""
    found: set[str] = set()
    for name, child in node.get("properties", {}).items():
        found |= {f"{prefix}{name}", *_fields(child, f"{prefix}{name}.")}
    if isinstance(node.get("items"), Mapping):
        found |= _fields(node["items"], prefix)
    return found


async def _namespace(client: kube.KubeClient, cluster: OrgCluster) -> str:
    found = await client.get(kube.NAMESPACES, cluster.namespace)
    if "deletionTimestamp" in found["metadata"]:
        raise Fault(f"{cluster.namespace} is being deleted")
    return cluster.namespace


async def _pod_security(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """Agents' pods keep to the restricted standard; only its enforcement holds others to it."""
    found = await client.get(kube.NAMESPACES, cluster.namespace)
    level = (found["metadata"].get("labels") or {}).get(_POD_SECURITY)
    if level != "restricted":
        raise Fault(f"{cluster.namespace} enforces {level or 'nothing'}, not restricted")
    return f"{cluster.namespace} enforces restricted"


async def _permission(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """Asks the API server to take an AgentTask, without storing it."""
    try:
        await client.list_all(kube.AGENT_TASKS, cluster.namespace)
    except KubeNotFound:
        raise Fault("cannot be asked before the definition is there") from None
    probe = {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {"name": "guildnet-doctor", "namespace": cluster.namespace},
        "spec": {"prompt": "Nothing: this is never stored.", "run": 1},
    }
    await client.apply(probe, field_manager="guildnet-cli", dry_run=True)
    return "AgentTasks may be read and written"


async def _storage_class(client: kube.KubeClient) -> str:
    classes = await client.list_all(kube.STORAGE_CLASSES)
    names = [str(c["metadata"]["name"]) for c in classes]
    default = [
        str(c["metadata"]["name"])
        for c in classes
        if c["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true"
    ]
    if not default:
        raise Fault(f"none is the default (there are: {', '.join(names) or 'none'})")
    return f"{default[0]} is the default"


async def _operator(client: kube.KubeClient, cluster: OrgCluster) -> str:
    from guildnet_cli.installation import manifests

    for obj in manifests(cluster, image=None, work_image=None):
        if obj["kind"] == "Deployment":
            meta = obj["metadata"]
            place = f"{meta['namespace']}/{meta['name']}"
            found = await client.get(kube.DEPLOYMENTS, meta["name"], meta["namespace"])
            if not found.get("status", {}).get("availableReplicas"):
                raise Fault(f"{place} has no pod that is available")
            image = found["spec"]["template"]["spec"]["containers"][0]["image"]
            return f"{place} runs {image}"
    raise Fault("its manifests name no Deployment")


async def _dns(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """Where the operator learns which DNS servers agents may ask."""
    from guildnet_operator.install import operator_name

    where = f"Service {dns_servers.SERVICE} in {dns_servers.NAMESPACE}"
    fallback = (
        "agents may ask the DNS pods with well-known labels and the name servers of the operator's "
        "pod; others are named by spec.dns in the org's file"
    )
    try:
        service = await client.find(kube.SERVICES, dns_servers.SERVICE, dns_servers.NAMESPACE)
        if service is None:
            return f"there is no {where}: {fallback}"
        role = operator_name(cluster.namespace)
        await client.get(kube.ROLE_BINDINGS, role, dns_servers.NAMESPACE)
    except KubeForbidden as error:
        return f"not checked: {error.message}"
    except KubeNotFound:
        raise Fault(f"the operator may not read {where}: {fallback}") from None
    return f"the operator reads {where}"


async def _process_limit(client: kube.KubeClient) -> str:
    """Whether one command can use up a node's process ids. A cluster may be used without a limit,
    so this is never a fault."""
    try:
        nodes = await client.list_all(kube.NODES)
        names = [str(node["metadata"]["name"]) for node in nodes[:_NODES_ASKED]]
        limits = {name: await _pids_limit(client, name) for name in names}
    except KubeError as error:
        return f"not checked: {error.message}"
    if not limits:
        return "not checked: there are no nodes"
    unlimited = [name for name, limit in limits.items() if limit <= 0]
    if unlimited:
        return (
            f"none on {', '.join(unlimited)}: one command can use up a node's process ids; set "
            "podPidsLimit in the kubelet's configuration, such as 4096"
        )
    return f"{min(limits.values())} processes for each pod"


async def _pids_limit(client: kube.KubeClient, node: str) -> int:
    limit = (await client.kubelet_configuration(node)).get("podPidsLimit", -1)
    return limit if isinstance(limit, int) else -1


async def _lease(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """The operator that works renews it; one from a shell holds it as well."""
    found = await client.get(kube.LEASES, labels.OPERATOR, cluster.namespace)
    return lease_told(found.get("spec") or {}, datetime.now(UTC))


def lease_told(spec: Mapping[str, Any], now: datetime) -> str:
    """Who holds the operator's Lease; Fault for one that nobody renews any more."""
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        raise Fault(f"{labels.OPERATOR} is held by nobody: no operator works")
    age = now - datetime.fromisoformat(str(renewed))
    if age > _LEASE_OLD:
        raise Fault(f"{holder} renewed it last {age.total_seconds():.0f} s ago: it works no more")
    return f"{holder} renewed it {max(age.total_seconds(), 0):.0f} s ago"


def to_json(findings: Mapping[str, Sequence[Finding]]) -> dict[str, Any]:
    return {
        org: [{k: v for k, v in asdict(f).items() if v != ""} for f in found]
        for org, found in findings.items()
    }


def to_text(findings: Mapping[str, Sequence[Finding]]) -> str:
    if not findings:
        return "No org is stored here; add one with `guildnet org add NAME --kubeconfig FILE`."
    rows = [
        (org, f.check, "ok" if f.good else "FAULT", f.message, f.cure)
        for org, found in findings.items()
        for f in found
    ]
    return table(("ORG", "CHECK", "", "FOUND", "WHAT TO DO"), rows)
