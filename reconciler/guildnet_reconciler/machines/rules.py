"""Which machines are asked, and which of them get what git says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from guildnet.errors import TalosError, TalosUnavailable
from guildnet.record import MachineCondition, MachineStatus
from guildnet.record.machines import MAX_LINE, MAX_LINES_OF_A_MACHINE
from guildnet.talos.configuration import Difference
from guildnet.talos.differences import changes_kubernetes, public_lines
from guildnet.talos.machines import MachineState
from guildnet.talos.spec import CONTROL_PLANE, Machine, TalosSpec

MAX_SKIPPED = 2
"""Checks that leave out a machine which did not answer before."""
_APPLICABLE = (MachineCondition.IN_SYNC, MachineCondition.DRIFTED)
_SIGNS = ("+", "-")


class Rota:
    """Which machines the next check asks: those first that were not asked for the longest time.

    A machine that does not answer is left out of one check, then of `MAX_SKIPPED`, because each
    question to it takes until the time limit.
    """

    def __init__(self) -> None:
        self._check = 0
        self._asked: dict[str, int] = {}
        self._away: dict[str, int] = {}
        self._next: dict[str, int] = {}

    def due(self, machines: Iterable[Machine]) -> tuple[Machine, ...]:
        """Begin the next check: the machines that it asks, in order."""
        self._check += 1
        found = [m for m in machines if self._next.get(m.address, 0) <= self._check]
        return tuple(sorted(found, key=lambda machine: self._asked.get(machine.address, 0)))

    def asked(self, address: str, *, is_away: bool) -> None:
        """The check has asked this machine."""
        self._asked[address] = self._check
        away = self._away.get(address, 0) + 1 if is_away else 0
        self._away[address] = away
        self._next[address] = self._check + 1 + min(away, MAX_SKIPPED)

    def restart(self) -> None:
        """Git has changed: the next check asks all machines."""
        self._next.clear()


def compared(found: Difference) -> MachineStatus:
    """The status of a machine that answered."""
    machine = found.machine
    status = MachineStatus(
        machine.address, machine.role, MachineCondition.IN_SYNC, version=found.version
    )
    if found.state is MachineState.MAINTENANCE:
        return replace(
            status,
            state=MachineCondition.MAINTENANCE,
            message="it has no configuration; the reconciler gives none to a new machine",
            cure="Run `guildnet talos apply` with --node for this machine.",
        )
    if found.is_same:
        return status
    return replace(
        status,
        state=MachineCondition.DRIFTED,
        changed_lines=sum(line.startswith(_SIGNS) for line in found.lines),
        changes_kubernetes=changes_kubernetes(found.lines),
        needs_reboot=found.needs_reboot,
        diff=tuple(line[:MAX_LINE] for line in public_lines(found.lines[:MAX_LINES_OF_A_MACHINE])),
    )


def failed(machine: Machine, error: TalosError) -> MachineStatus:
    """The status of a machine that could not be compared."""
    state = MachineCondition.REFUSED
    if isinstance(error, TalosUnavailable):
        state = MachineCondition.UNREACHABLE
    elif getattr(error, "is_foreign", False):
        state = MachineCondition.FOREIGN
    return MachineStatus(
        machine.address, machine.role, state, message=error.message, cure=error.cure or ""
    )


def not_applied(status: MachineStatus, error: TalosError) -> MachineStatus:
    """A drifted machine that did not take over what git says."""
    cure = error.cure or (
        "Run `guildnet talos diff` and `guildnet talos apply`; a change that needs a reboot needs "
        "--mode staged or --mode auto."
    )
    return replace(status, message=f"not applied: {error.message}", cure=cure)


def held_back(
    spec: TalosSpec,
    found: Mapping[str, MachineStatus],
    refused: Mapping[str, MachineStatus],
    obstacle: str = "",
) -> dict[str, MachineStatus]:
    """The drifted machines to which nothing is applied now, each with the reason in its status.

    `refused` are machines that rejected a difference before; `obstacle` holds for all of them.
    """
    drifted = {a: s for a, s in found.items() if s.state is MachineCondition.DRIFTED}
    if obstacle:
        return {a: replace(s, message=f"not applied: {obstacle}") for a, s in drifted.items()}
    if any(status.changes_kubernetes for status in drifted.values()):
        return {
            address: replace(
                status,
                message="not applied: a machine runs another version of Kubernetes than git says",
                cure=f"Run `guildnet talos upgrade-k8s {spec.org}`, or correct "
                "spec.talos.kubernetesVersion.",
            )
            for address, status in drifted.items()
        }
    absent = [
        m.address
        for m in spec.control_planes
        if m.address not in found or found[m.address].state not in _APPLICABLE
    ]
    held: dict[str, MachineStatus] = {}
    for address, status in drifted.items():
        if status.needs_reboot:
            held[address] = replace(
                status,
                message="not applied: the change needs a reboot",
                cure=f"Run `guildnet talos apply {spec.org} --node {address}` with --mode staged "
                "and reboot the machine when it suits, or with --mode auto.",
            )
            continue
        earlier = refused.get(address)
        if earlier is not None and (earlier.diff, earlier.changed_lines) == (
            status.diff,
            status.changed_lines,
        ):
            held[address] = replace(status, message=earlier.message, cure=earlier.cure)
        elif absent and status.role == CONTROL_PLANE:
            held[address] = replace(
                status,
                message=f"not applied: the control plane {absent[0]} is not well, and etcd needs "
                "the others",
                cure=f"Cure {absent[0]} first, or run `guildnet talos apply {spec.org}`.",
            )
    return held
