"""The checks of `guildnet doctor` that an org with Talos machines has beyond the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from guildnet.age_files import age_identity
from guildnet.errors import GuildNetError, KubeError
from guildnet.resources import Org
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.files import WorkTreeFiles
from guildnet.talos.machines import MachineState, probe_all
from guildnet.talos.spec import talos_of
from guildnet.talos.state import TalosState
from guildnet.talos.talosctl import Talosctl
from guildnet.talos.versions import same_minor
from guildnet_cli.cluster.checks import CheckFailed, CheckResult
from guildnet_cli.cluster.org_cluster import cluster_of
from guildnet_cli.output import printable
from guildnet_cli.talos import comparing
from guildnet_cli.talos.certs import certificates
from guildnet_cli.talos.health import nodes_of

_MAX_NAMED = 5


def talos_checks(repo: Path, org: Org) -> list[CheckResult]:
    """The checks of the org's machines; none for an org without them. Blocks."""
    spec = talos_of(org)
    if spec is None:
        return []
    state, name = TalosState.of(org.name), org.name
    tool = _checked(
        "talosctl",
        lambda: f"{Talosctl.find(spec.version, state.home()).version()} is on PATH",
        "",
    )
    if not tool.good:
        return [tool]
    files = WorkTreeFiles(repo)
    try:
        cluster = TalosCluster.open(spec, files, state, age_identity())
    except GuildNetError as error:
        message = f"{error.place}: {error.message}" if error.place else error.message
        return [tool, CheckResult("Talos secrets", False, message, error.cure or "")]
    return [
        tool,
        _checked(
            "Talos machines",
            lambda: _machines(cluster),
            f"Run `guildnet talos apply {name}`, which says of each machine what to do.",
        ),
        _checked(
            "machine configuration",
            lambda: _drift(cluster),
            f"See `guildnet talos diff {name}`; `guildnet talos apply {name}` makes them as git "
            "says.",
        ),
        _checked(
            "Talos certificates",
            lambda: _certificates(cluster, org),
            f"Run `guildnet talos certs {name}`.",
        ),
        _checked(
            "Kubernetes version",
            lambda: _kubernetes(cluster, org),
            f"Run `guildnet talos upgrade-k8s {name}`, or correct spec.talos.kubernetesVersion.",
        ),
    ]


def _checked(name: str, check: Callable[[], str], cure: str) -> CheckResult:
    try:
        return CheckResult(name, True, check())
    except CheckFailed as failure:
        return CheckResult(name, False, str(failure), cure)
    except GuildNetError as error:
        return CheckResult(name, False, printable(error.message), error.cure or cure)


def _machines(cluster: TalosCluster) -> str:
    spec = cluster.spec
    probes = probe_all(cluster.tool, spec.machines)
    bad = [f"{p.machine.address}: {p.state}" for p in probes if p.state is not MachineState.OURS]
    if bad:
        raise CheckFailed(_first(bad))
    other = [
        f"{p.machine.address} runs {p.version}, git says {spec.version}"
        for p in probes
        if p.version and not same_minor(p.version, spec.version)
    ]
    if other:
        raise CheckFailed(_first(other))
    return f"{len(probes)} answer"


def _drift(cluster: TalosCluster) -> str:
    results = comparing.compare(cluster, cluster.spec.machines)
    bad = [
        f"{found.address}: {printable(found.error.message) if found.error else found.result}"
        for found in results
        if found.result != "same"
    ]
    if bad:
        raise CheckFailed(_first(bad))
    return "all machines are as git says"


def _certificates(cluster: TalosCluster, org: Org) -> str:
    found = sorted(certificates(cluster, org), key=lambda each: each.end)
    soon = [f"{c.name} ends {c.end:%Y-%m-%d}" for c in found if c.ends_soon(datetime.now(UTC))]
    if soon:
        raise CheckFailed(_first(soon))
    return f"the first to end is {found[0].name}, {found[0].end:%Y-%m-%d}"


def _kubernetes(cluster: TalosCluster, org: Org) -> str:
    import asyncio

    wanted = cluster.spec.kubernetes_version
    try:
        nodes = asyncio.run(nodes_of(cluster_of(org)))
    except KubeError as error:
        raise CheckFailed(f"not known: {error.message}") from error
    other = [f"{node.name} runs {node.version}" for node in nodes if node.version != wanted]
    if other:
        raise CheckFailed(f"git says {wanted}; {_first(other)}")
    return f"{len(nodes)} nodes run {wanted}"


def _first(words: list[str]) -> str:
    more = len(words) - _MAX_NAMED
    return ", ".join(words[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
