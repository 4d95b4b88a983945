"""`guildnet talos diff` and `apply`: what the machines run against what git says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from guildnet.errors import GuildNetError, TalosError
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.configuration import Difference, Mode, apply, difference
from guildnet.talos.machines import MAX_AT_ONCE, MachineState
from guildnet.talos.spec import Machine
from guildnet_cli.output import printable, printable_line


@dataclass(frozen=True, slots=True)
class MachineResult:
    """One machine: `same`, `different`, `unconfigured`, `applied` or `failed`; the difference as
    lines without keys; or the error."""

    address: str
    role: str
    result: str
    lines: tuple[str, ...] = ()
    needs_reboot: bool = False
    error: GuildNetError | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"address": self.address, "role": self.role, "result": self.result}
        if self.lines:
            found["diff"] = list(self.lines)
            found["needsReboot"] = self.needs_reboot
        if self.error is not None:
            found["error"] = self.error.message
            if self.error.cure:
                found["cure"] = self.error.cure
        return found

    def to_text(self) -> str:
        reboot = ", needs a reboot" if self.needs_reboot else ""
        lines = [f"{self.address} ({self.role}): {self.result}{reboot}"]
        lines += [f"  {printable_line(line)}" for line in self.lines]
        if self.error is not None:
            lines.append(f"  {printable(self.error.message)}")
            if self.error.cure:
                lines.append(f"  what to do: {printable(self.error.cure)}")
        return "\n".join(lines)


def compare(cluster: TalosCluster, machines: tuple[Machine, ...]) -> list[MachineResult]:
    """Compare each machine, several at once; one that fails delays no other."""

    def one(machine: Machine, wanted: bytes) -> MachineResult:
        return _result(machine, difference(cluster, machine, wanted), changed="different")

    return _each(cluster, machines, one, MAX_AT_ONCE)


def apply_all(
    cluster: TalosCluster,
    machines: tuple[Machine, ...],
    mode: Mode,
    progress: Callable[[str], None],
) -> list[MachineResult]:
    """Apply to each machine that differs, one after the other, control planes first; machines that
    fail keep no other from being applied."""

    def one(machine: Machine, wanted: bytes) -> MachineResult:
        progress(f"{machine.address}: asking")
        return _result(machine, apply(cluster, machine, wanted, mode), changed="applied")

    return _each(cluster, machines, one, 1)


def _result(machine: Machine, found: Difference, *, changed: str) -> MachineResult:
    result = "same" if found.is_same else changed
    if found.state is MachineState.MAINTENANCE and changed == "different":
        result = "unconfigured"
    return MachineResult(
        machine.address, machine.role, result, found.lines, needs_reboot=found.needs_reboot
    )


def _each(
    cluster: TalosCluster,
    machines: tuple[Machine, ...],
    act: Callable[[Machine, bytes], MachineResult],
    at_once: int,
) -> list[MachineResult]:
    rendered = cluster.rendered(machines)

    def guarded(machine: Machine) -> MachineResult:
        try:
            return act(machine, rendered[machine.address])
        except TalosError as error:
            return MachineResult(machine.address, machine.role, "failed", error=error)

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(guarded, machines))


def to_text(results: Sequence[MachineResult]) -> str:
    return "\n".join(result.to_text() for result in results)
