"""`guildnet org create`: from machines in maintenance mode to an org that can run tasks.

There is no journal: each step asks the machines, the cluster or the checkout what is there, and
does what is missing. So the whole can be killed at any moment and run again.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from guildnet.errors import TalosError
from guildnet.resources import Org
from guildnet.talos.bootstrap import bootstrap
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.configuration import Mode, unreachable
from guildnet.talos.machines import MachineState, probe_all
from guildnet.talos.spec import talos_of
from guildnet.talos.state import TalosState
from guildnet_cli.cluster import checks, installation
from guildnet_cli.cluster.checks import CheckResult
from guildnet_cli.cluster.org_cluster import cluster_of
from guildnet_cli.output import say, say_changes
from guildnet_cli.talos import comparing
from guildnet_cli.talos.checks import talos_checks
from guildnet_cli.talos.generating import generate
from guildnet_cli.talos.health import await_nodes
from guildnet_cli.talos.kubeconfig import ensure_kubeconfig

_POLL = 2.0


def create_cluster(
    repo: Path,
    org: Org,
    state: TalosState,
    *,
    images: tuple[str | None, str | None],
    timeout: timedelta,
) -> list[CheckResult]:
    """Take the org from its file to an operator that runs; what `doctor` says at the end.

    `images` are those of the operator and of tasks. `timeout` is for each step that waits. The
    caller holds the org's lock. Raises GuildNetError where a step fails.
    """
    spec = talos_of(org)
    assert spec is not None
    progress = say_changes()
    say("1/6 secrets and configurations")
    cluster, _ = generate(repo, spec, state)
    say("2/6 configurations to the machines")
    _await_machines(cluster, timeout)
    _apply(cluster)
    say("3/6 etcd")
    bootstrap(cluster, timeout, progress)
    say("4/6 kubeconfig")
    _kubeconfig(cluster, org, timeout)
    say("5/6 nodes")
    reached = cluster_of(org)
    await_nodes(reached, len(spec.machines), timeout, progress)
    say("6/6 operator")
    operator, work = images
    wanted = installation.manifests(reached, image=operator, work_image=work)
    asyncio.run(installation.install(reached, wanted, timeout))
    return [*asyncio.run(checks.check_one(reached)), *talos_checks(repo, org)]


def _await_machines(cluster: TalosCluster, timeout: timedelta) -> None:
    """Wait until each machine answers: they may be booting."""
    deadline = time.monotonic() + timeout.total_seconds()
    progress = say_changes()
    while True:
        away = [
            found
            for found in probe_all(cluster.tool, cluster.spec.machines)
            if found.state is MachineState.UNREACHABLE
        ]
        if not away:
            return
        if time.monotonic() >= deadline:
            raise unreachable(away[0].machine, away[0].message)
        progress(f"waiting for {', '.join(found.machine.address for found in away)}")
        time.sleep(_POLL)


def _apply(cluster: TalosCluster) -> None:
    machines = cluster.spec.machines
    results = comparing.apply_all(cluster, machines, Mode.NO_REBOOT, lambda _: None)
    for found in results:
        say(f"{found.address}: {found.result}")
    failures = [found.error for found in results if found.error is not None]
    if failures:
        raise failures[0]


def _kubeconfig(cluster: TalosCluster, org: Org, timeout: timedelta) -> None:
    """Fetch it, as soon as the control plane can issue one."""
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        try:
            ensure_kubeconfig(cluster, org)
            return
        except TalosError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL)
