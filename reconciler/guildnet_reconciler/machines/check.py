"""One check of an org's machines, in a thread of its own. Blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError, GuildNetError, TalosError, TalosRefused
from guildnet.record import MachineCondition, MachineStatus
from guildnet.talos.certificates import end_of, talosconfig_credentials
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.configuration import Mode, apply, difference
from guildnet.talos.files import RepositoryFiles
from guildnet.talos.machines import MAX_AT_ONCE
from guildnet.talos.process import Interruption
from guildnet.talos.spec import Machine, TalosSpec
from guildnet.talos.state import TalosState
from guildnet_reconciler.machines.rules import compared, failed, held_back, not_applied

DEADLINE = timedelta(minutes=4)
"""Of one check; machines that it did not reach are the first of the next one."""
LOCK_WAIT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Job:
    """What one check is about. `due` are the machines to ask; `known` are the statuses from earlier
    checks of the same files, `refused` those of machines that rejected what git says. `obstacle`
    is asked before each machine: why nothing may be applied, "" if it may."""

    spec: TalosSpec
    files: RepositoryFiles
    state: TalosState
    identity: Path | None
    due: tuple[Machine, ...]
    known: Mapping[str, MachineStatus]
    refused: Mapping[str, MachineStatus]
    obstacle: Callable[[], str]
    interruption: Interruption


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found: the statuses of the machines that it asked by address, those that
    rejected what git says, and the ends of the certificates that people must renew; or the `error`
    that kept it from asking any."""

    statuses: Mapping[str, MachineStatus] = field(default_factory=dict)
    refused: Mapping[str, MachineStatus] = field(default_factory=dict)
    certificates: tuple[tuple[str, str], ...] = ()
    error: GuildNetError | None = None


def check(job: Job) -> Found:
    """Compare the machines that are due with git, and apply what git says where that is allowed."""
    try:
        cluster = TalosCluster.open(job.spec, job.files, job.state, job.identity, job.interruption)
        rendered = cluster.rendered(job.due)
        ends = tuple(_certificates(cluster))
    except GuildNetError as error:
        return Found(error=error)
    statuses = _compare(job, cluster, rendered)
    refused = dict(job.refused)
    if job.spec.reconcile == "apply":
        statuses |= _apply(job, cluster, rendered, statuses, refused)
    return Found(statuses, refused, ends)


def _compare(
    job: Job, cluster: TalosCluster, rendered: Mapping[str, bytes]
) -> dict[str, MachineStatus]:
    deadline = time.monotonic() + DEADLINE.total_seconds()

    def one(machine: Machine) -> MachineStatus | None:
        if job.interruption.is_set or time.monotonic() > deadline:
            return None
        wanted = rendered[machine.address]
        try:
            return compared(difference(cluster, machine, wanted, configured_only=True))
        except TalosError as error:
            return failed(machine, error)

    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        return {status.address: status for status in pool.map(one, job.due) if status is not None}


def _apply(
    job: Job,
    cluster: TalosCluster,
    rendered: Mapping[str, bytes],
    asked: Mapping[str, MachineStatus],
    refused: dict[str, MachineStatus],
) -> dict[str, MachineStatus]:
    """Apply to one drifted machine after the other, in the order of `guildnet talos apply`, until
    one fails; the statuses that this changes. A machine that rejects is added to `refused`."""
    held = held_back(job.spec, {**job.known, **asked}, refused, job.obstacle())
    changed = {address: status for address, status in held.items() if address in asked}
    left = [
        machine
        for machine in job.spec.machines
        if machine.address in asked
        and machine.address not in held
        and asked[machine.address].state is MachineCondition.DRIFTED
    ]
    if not left:
        return changed
    obstacle = ""
    try:
        with job.state.locked(LOCK_WAIT, lambda _holder: None):
            while left and not obstacle and not job.interruption.is_set:
                machine = left.pop(0)
                address, status = machine.address, asked[machine.address]
                try:
                    changed[address] = _applied(cluster, machine, rendered[address])
                except TalosError as error:
                    changed[address] = not_applied(status, error)
                    if isinstance(error, TalosRefused):
                        refused[address] = changed[address]
                    obstacle = f"{address} did not take over its configuration"
                obstacle = obstacle or job.obstacle()
    except ConfigurationError as error:  # a verb works on this org
        obstacle = error.message
    rest = {machine.address: asked[machine.address] for machine in left}
    return changed | held_back(job.spec, rest, {}, obstacle)


def _applied(cluster: TalosCluster, machine: Machine, wanted: bytes) -> MachineStatus:
    """Apply to one machine. Raises TalosError where it is not as git says afterwards."""
    apply(cluster, machine, wanted, Mode.NO_REBOOT, configured_only=True)
    found = difference(cluster, machine, wanted, configured_only=True)
    if not found.is_same:
        raise TalosRefused(
            "it still differs after the configuration was applied", place=machine.address
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(compared(found), applied_at=now)


def _certificates(cluster: TalosCluster) -> list[tuple[str, str]]:
    """(name, end) of the client certificate and of the cluster's authorities."""
    place = cluster.state.talosconfig
    client = talosconfig_credentials(place.read_bytes(), str(place)).certificate
    found = [("talosconfig", client)] if client is not None else []
    found += list(cluster.bundle.authorities.items())
    return [(name, end_of(pem, name).isoformat()) for name, pem in found]
