"""The checks of `guildnet doctor`: what an org's cluster needs, and how to fix each fault."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from guildnet import __version__, kube, labels, schema
from guildnet.errors import KubeError, KubeForbidden, KubeNotFound
from guildnet_cli.cluster import versions
from guildnet_cli.cluster.agent_programs import missing_programs
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.output import table
from guildnet_operator.lookups import dns_servers

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_POD_SECURITY = "pod-security.kubernetes.io/enforce"
#: An operator renews its Lease every few seconds; after this long it has stopped or hangs.
_LEASE_MAX_AGE = timedelta(seconds=30)
#: An alert of the chart uses the same margin.
_CREDENTIAL_MARGIN = timedelta(days=7)
#: How many nodes to ask: those of a cluster usually have the same configuration.
_MAX_NODES = 3


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: whether it passed, what was found, and how to fix it."""

    check: str
    good: bool
    message: str
    cure: str = ""


async def check_all(clusters: Sequence[OrgCluster]) -> dict[str, list[CheckResult]]:
    """The results of each org, checked concurrently: a dead cluster delays no other (I3)."""
    found = await asyncio.gather(*(check_one(cluster) for cluster in clusters))
    return {cluster.org: results for cluster, results in zip(clusters, found, strict=True)}


async def check_one(cluster: OrgCluster) -> list[CheckResult]:
    """All checks of one cluster; only the first where the API server does not answer."""
    from guildnet_cli.mesh.checks import mesh_checks

    install = f"Run `guildnet org install {cluster.org}`."
    async with cluster.client() as client:
        try:
            version = await client.version()
        except KubeError as error:
            message = f"{error.place or client.place}: {error.message}"
            return [CheckResult("reach", False, message, _unreachable_cure(cluster, error))]
        return [
            CheckResult("reach", True, f"{client.place} answers, {version}"),
            describe_credential(client.credential_ends, datetime.now(UTC), cluster.org),
            await _checked("definition", _crd(client), install),
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
                "Grant the kubeconfig's user access to AgentTasks in the namespace.",
            ),
            await _checked(
                "storage class",
                _storage_class(client),
                "Mark one as the default, or set spec.agent.workspace.storageClass.",
            ),
            await _checked("operator", _operator(client, cluster), install),
            await _checked(
                "agent programs",
                _agent_programs(client, cluster),
                "Build the image with them: docker build -f agent/Dockerfile --target work "
                '--build-arg AGENTS="PRESET ..." .',
            ),
            await _versions(client, cluster),
            await _checked("cluster DNS", _dns(client, cluster), install),
            await _checked("process limit", _process_limit(client), ""),
            await _checked(
                "operator alive",
                _lease(client, cluster),
                f"Read the operator's log: kubectl -n {labels.OPERATOR_NAMESPACE} logs "
                f"-l {labels.APP_NAME}={labels.OPERATOR}",
            ),
            await _checked(
                "reconciler alive",
                _reconciler(client, cluster),
                "Read the reconciler's log, and its /ready. In a cluster: kubectl -n guildnet logs "
                f"-l {labels.APP_NAME}={labels.RECONCILER}",
            ),
            *await mesh_checks(client, cluster),
        ]


def _unreachable_cure(cluster: OrgCluster, error: KubeError) -> str:
    """With the error's own cure, which knows of the proxy on the way."""
    first = error.cure or "check that the cluster is running and reachable from here"
    return (
        f"{first[0].upper()}{first[1:]}. Check that {cluster.kubeconfig} is valid; replace it with "
        f"`guildnet org add {cluster.org} --kubeconfig FILE`."
    )


class CheckFailed(Exception):
    """A check failed; the text says why."""


async def _checked(name: str, check: Any, cure: str) -> CheckResult:
    try:
        return CheckResult(name, True, await check)
    except CheckFailed as failure:
        return CheckResult(name, False, str(failure), cure)
    except KubeNotFound as error:
        return CheckResult(name, False, f"missing: {error.message}", cure)
    except KubeError as error:
        return CheckResult(name, False, error.message, error.cure or cure)


async def _crd(client: kube.KubeClient) -> str:
    wanted = schema.crd()
    name = wanted["metadata"]["name"]
    found = await client.get(kube.CUSTOM_RESOURCE_DEFINITIONS, name)
    served = [v for v in found["spec"]["versions"] if v["name"] == labels.VERSION]
    if not served or not served[0].get("served"):
        raise CheckFailed(f"{name} does not serve {labels.VERSION}")
    known = _fields(served[0]["schema"]["openAPIV3Schema"])
    missing = _fields(wanted["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) - known
    if missing:
        raise CheckFailed(
            f"{name} is of another GuildNet version: it lacks {', '.join(sorted(missing)[:5])}"
        )
    return f"{name} serves {labels.VERSION}"


def _fields(node: Any, prefix: str = "") -> set[str]:
    """The dotted path of every field of a schema."""
    found: set[str] = set()
    for name, child in node.get("properties", {}).items():
        found |= {f"{prefix}{name}", *_fields(child, f"{prefix}{name}.")}
    if isinstance(node.get("items"), Mapping):
        found |= _fields(node["items"], prefix)
    return found


async def _namespace(client: kube.KubeClient, cluster: OrgCluster) -> str:
    found = await client.get(kube.NAMESPACES, cluster.namespace)
    if "deletionTimestamp" in found["metadata"]:
        raise CheckFailed(f"{cluster.namespace} is being deleted")
    return cluster.namespace


async def _pod_security(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """Agents' pods meet the restricted standard; enforcing it makes all other pods meet it."""
    found = await client.get(kube.NAMESPACES, cluster.namespace)
    level = (found["metadata"].get("labels") or {}).get(_POD_SECURITY)
    if level != "restricted":
        raise CheckFailed(f"{cluster.namespace} enforces {level or 'nothing'}, not restricted")
    return f"{cluster.namespace} enforces restricted"


async def _permission(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """List AgentTasks, and apply one as a dry run."""
    try:
        await client.list_all(kube.AGENT_TASKS, cluster.namespace)
    except KubeNotFound:
        raise CheckFailed("cannot be checked before the CRD is installed") from None
    probe = {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {"name": "guildnet-doctor", "namespace": cluster.namespace},
        "spec": {"prompt": "Nothing: this is a dry run.", "run": 1},
    }
    await client.apply(probe, field_manager="guildnet-cli", dry_run=True)
    return "AgentTasks can be read and written"


async def _storage_class(client: kube.KubeClient) -> str:
    classes = await client.list_all(kube.STORAGE_CLASSES)
    names = [str(c["metadata"]["name"]) for c in classes]
    default = [
        str(c["metadata"]["name"])
        for c in classes
        if c["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true"
    ]
    if not default:
        raise CheckFailed(f"no default (storage classes: {', '.join(names) or 'none'})")
    return f"{default[0]} is the default"


async def _operator(client: kube.KubeClient, cluster: OrgCluster) -> str:
    from guildnet_cli.cluster.installation import manifests

    for obj in manifests(cluster, image=None, work_image=None):
        if obj["kind"] == "Deployment":
            meta = obj["metadata"]
            place = f"{meta['namespace']}/{meta['name']}"
            found = await client.get(kube.DEPLOYMENTS, meta["name"], meta["namespace"])
            if not found.get("status", {}).get("availableReplicas"):
                raise CheckFailed(f"{place} has no available pod")
            image = found["spec"]["template"]["spec"]["containers"][0]["image"]
            return f"{place} runs {image}"
    raise CheckFailed("its manifests have no Deployment")


async def _versions(client: kube.KubeClient, cluster: OrgCluster) -> CheckResult:
    """Whether CRD, operator, reconciler and this command are of versions that work together."""
    try:
        found = await versions.versions_in(client, cluster.namespace)
    except KubeError as error:
        return CheckResult("versions", True, f"not checked: {error.message}")
    own = {versions.COMMAND: __version__}
    return CheckResult("versions", *versions.skew({**found, **own}, cluster.org))


async def _agent_programs(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """Whether the last run of each preset found its program in the image."""
    try:
        tasks = await client.list_all(kube.AGENT_TASKS, cluster.namespace)
    except KubeNotFound:
        return "not checked: the AgentTask CRD is not installed"
    present, missing = missing_programs(tasks)
    if missing:
        raise CheckFailed(f"missing: {', '.join(missing)}")
    return ", ".join(present) or "not checked: no coding agent has finished a run yet"


async def _dns(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """How the operator finds the DNS servers that agents may query."""
    from guildnet_operator.install import operator_name

    where = f"Service {dns_servers.SERVICE} in {dns_servers.NAMESPACE}"
    fallback = (
        "agents may query DNS pods with well-known labels and the name servers of the operator's "
        "pod; add others to spec.dns in the org's file"
    )
    try:
        service = await client.find(kube.SERVICES, dns_servers.SERVICE, dns_servers.NAMESPACE)
        if service is None:
            return f"{where} does not exist: {fallback}"
        role = operator_name(cluster.namespace)
        await client.get(kube.ROLE_BINDINGS, role, dns_servers.NAMESPACE)
    except KubeForbidden as error:
        return f"not checked: {error.message}"
    except KubeNotFound:
        raise CheckFailed(f"the operator may not read {where}: {fallback}") from None
    return f"the operator reads {where}"


async def _process_limit(client: kube.KubeClient) -> str:
    """Whether one command can use up a node's process ids. A limit is optional, so this check
    never fails."""
    try:
        nodes = await client.list_all(kube.NODES)
        names = [str(node["metadata"]["name"]) for node in nodes[:_MAX_NODES]]
        limits = {name: await _pids_limit(client, name) for name in names}
    except KubeError as error:
        return f"not checked: {error.message}"
    if not limits:
        return "not checked: the cluster has no nodes"
    unlimited = [name for name, limit in limits.items() if limit <= 0]
    if unlimited:
        return (
            f"no limit on {', '.join(unlimited)}: one command can use up a node's process ids; set "
            "podPidsLimit in the kubelet's configuration, for example to 4096"
        )
    return f"{min(limits.values())} processes per pod"


async def _pids_limit(client: kube.KubeClient, node: str) -> int:
    limit = (await client.kubelet_configuration(node)).get("podPidsLimit", -1)
    return limit if isinstance(limit, int) else -1


async def _lease(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """A working operator renews it, in a pod or in a shell."""
    found = await client.get(kube.LEASES, labels.OPERATOR, cluster.namespace)
    return describe_lease(found.get("spec") or {}, datetime.now(UTC))


async def _reconciler(client: kube.KubeClient, cluster: OrgCluster) -> str:
    """Which reconciler works on the org. None is not a failure: it may not be running yet."""
    found = await client.find(kube.LEASES, labels.RECONCILER, cluster.namespace)
    spec = (found or {}).get("spec") or {}
    if not spec.get("holderIdentity"):
        return "none works on this org now: start one with `guildnet reconciler`"
    return describe_lease(spec, datetime.now(UTC), "reconciler")


def describe_credential(ends: datetime | None, now: datetime, org: str) -> CheckResult:
    """Whether the kubeconfig lasts for another week, if it says how long it lasts."""
    if ends is None:
        return CheckResult("credential", True, "the kubeconfig does not say when it ends")
    message = f"the kubeconfig's first certificate or token ends at {ends:%Y-%m-%d %H:%M} UTC"
    is_good = ends - now > _CREDENTIAL_MARGIN
    cure = f"Replace it: guildnet org add {org} --kubeconfig FILE, or its Secret."
    return CheckResult("credential", is_good, message, "" if is_good else cure)


def describe_lease(spec: Mapping[str, Any], now: datetime, component: str = "operator") -> str:
    """Describe the last renewal of a component's Lease. Raises CheckFailed if it has expired."""
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        raise CheckFailed(f"Lease guildnet-{component} has no holder: no {component} is running")
    age = now - datetime.fromisoformat(str(renewed))
    if age > _LEASE_MAX_AGE:
        raise CheckFailed(
            f"last renewed by {holder} {age.total_seconds():.0f} s ago: the {component} has stopped"
        )
    return f"renewed by {holder} {max(age.total_seconds(), 0):.0f} s ago"


def to_json(results: Mapping[str, Sequence[CheckResult]]) -> dict[str, Any]:
    return {
        org: [{k: v for k, v in asdict(f).items() if v != ""} for f in found]
        for org, found in results.items()
    }


def to_text(results: Mapping[str, Sequence[CheckResult]]) -> str:
    if not results:
        return "No stored kubeconfigs; add an org with `guildnet org add NAME --kubeconfig FILE`."
    rows = [
        (org, f.check, "ok" if f.good else "FAIL", f.message, f.cure)
        for org, found in results.items()
        for f in found
    ]
    return table(("ORG", "CHECK", "RESULT", "FOUND", "WHAT TO DO"), rows)
