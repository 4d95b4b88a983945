"""The section `talos` of an org's record: how its machines compare with git. Pure.

    talos: {reconcile, problem: {message, cure}, machines: [...], certificates: {name: end}}

It is bounded where it is written and again where it is read, because the branch is a file that
others can write, too. The same findings give the same bytes: there is no time of the last check.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

MAX_MACHINES = 1040
"""The machines that an org's file may list: 16 control planes and 1,024 workers."""
MAX_LINES_OF_A_MACHINE = 40
MAX_LINE = 200
MAX_LINES = 400
"""Of all machines of an org together."""
MAX_EXPLAINED = 200
"""Machines whose message is recorded; of further ones, the state is."""
MAX_CERTIFICATES = 16
_MAX_MESSAGE = 400
_MAX_PROBLEM = 1500
_MAX_NAME = 253
_LARGEST = 2**31


class MachineCondition(StrEnum):
    """How a machine compares with git. `REFUSED`: it rejects what git says; `UNKNOWN`: it could
    not be compared yet."""

    IN_SYNC = "inSync"
    DRIFTED = "drifted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    FOREIGN = "foreign"
    MAINTENANCE = "maintenance"
    UNKNOWN = "unknown"


_WORDS = {
    MachineCondition.IN_SYNC: "as git says",
    MachineCondition.REFUSED: "refuses what git says",
    MachineCondition.FOREIGN: "of another cluster",
    MachineCondition.MAINTENANCE: "in maintenance mode",
    MachineCondition.UNKNOWN: "not compared yet",
}
_OUTAGES = (MachineCondition.UNREACHABLE, MachineCondition.FOREIGN)


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One machine. `diff` are the first changed lines, without secrets, and `changed_lines` counts
    all of them; `changes_kubernetes` says that they change the version of Kubernetes,
    `needs_reboot` that the machine cannot take them over while it runs. `since` is when its state
    changed last, `applied_at` when the reconciler last applied a configuration, both in RFC 3339.
    """

    address: str
    role: str
    state: MachineCondition
    since: str = ""
    version: str = ""
    message: str = ""
    cure: str = ""
    changed_lines: int = 0
    changes_kubernetes: bool = False
    needs_reboot: bool = False
    diff: tuple[str, ...] = ()
    applied_at: str = ""

    def after(self, before: MachineStatus | None, now: str) -> MachineStatus:
        """This status as it follows an earlier one of the machine.

        Of an outage the first message is kept: each try has another one, with other ports in it.
        """
        if before is None:
            return replace(self, since=now)
        found = replace(self, applied_at=self.applied_at or before.applied_at, since=now)
        if before.state is not self.state:
            return found
        if self.state in _OUTAGES:
            found = replace(found, message=before.message, cure=before.cure)
        return replace(found, since=before.since or now)

    @property
    def summary(self) -> str:
        """The state in a few words, such as `drifted, 3 changed lines`."""
        count = f", {self.changed_lines} changed line{'s' * (self.changed_lines != 1)}"
        return _WORDS.get(self.state, str(self.state)) + (count if self.changed_lines else "")

    def to_json(self) -> dict[str, Any]:
        found = {
            "address": self.address,
            "role": self.role,
            "state": str(self.state),
            "since": self.since,
            "version": self.version,
            "message": self.message,
            "cure": self.cure,
            "changedLines": self.changed_lines,
            "changesKubernetes": self.changes_kubernetes,
            "needsReboot": self.needs_reboot,
            "diff": list(self.diff),
            "appliedAt": self.applied_at,
        }
        return {key: value for key, value in found.items() if value not in ("", 0, [])}


@dataclass(frozen=True, slots=True)
class MachinesReport:
    """The section. `problem` says why no machine could be asked ("" if they could)."""

    reconcile: str
    machines: tuple[MachineStatus, ...] = ()
    problem: str = ""
    cure: str = ""
    certificates: tuple[tuple[str, str], ...] = ()

    @property
    def out_of_sync(self) -> tuple[MachineStatus, ...]:
        """The machines that are not as git says, or of which it is not known."""
        return tuple(m for m in self.machines if m.state is not MachineCondition.IN_SYNC)

    def counts(self) -> dict[str, int]:
        """How many machines are in each state, zeros included."""
        found = Counter(machine.state for machine in self.machines)
        return {str(state): found[state] for state in MachineCondition}

    def to_json(self) -> dict[str, Any]:
        section: dict[str, Any] = {"reconcile": self.reconcile}
        if self.problem:
            section["problem"] = {"message": self.problem[:_MAX_PROBLEM]}
            if self.cure:
                section["problem"]["cure"] = self.cure[:_MAX_PROBLEM]
        if self.machines:
            section["machines"] = [machine.to_json() for machine in _bounded(self.machines)]
        if self.certificates:
            section["certificates"] = dict(self.certificates[:MAX_CERTIFICATES])
        return section

    @classmethod
    def from_json(cls, section: Any) -> MachinesReport | None:
        """The section of a record, without what cannot be understood; None without one."""
        if not isinstance(section, Mapping) or not isinstance(section.get("reconcile"), str):
            return None
        problem = section.get("problem")
        problem = problem if isinstance(problem, Mapping) else {}
        listed = section.get("machines")
        entries = listed[:MAX_MACHINES] if isinstance(listed, (list, tuple)) else ()
        machines = [found for entry in entries if (found := _machine(entry)) is not None]
        ends = section.get("certificates")
        names = list(ends.items())[:MAX_CERTIFICATES] if isinstance(ends, Mapping) else ()
        return cls(
            section["reconcile"][:16],
            tuple(_bounded(machines)),
            _text(problem, "message", _MAX_PROBLEM),
            _text(problem, "cure", _MAX_PROBLEM),
            tuple((n[:64], e[:64]) for n, e in names if isinstance(n, str) and isinstance(e, str)),
        )


def _bounded(machines: Sequence[MachineStatus]) -> Iterator[MachineStatus]:
    lines, explained = MAX_LINES, MAX_EXPLAINED
    for machine in machines[:MAX_MACHINES]:
        shown = tuple(
            line[:MAX_LINE] for line in machine.diff[: min(MAX_LINES_OF_A_MACHINE, lines)]
        )
        lines -= len(shown)
        kept = _MAX_MESSAGE if explained > 0 else 0
        explained -= bool(machine.message)
        yield replace(machine, diff=shown, message=machine.message[:kept], cure=machine.cure[:kept])


def _machine(entry: Any) -> MachineStatus | None:
    if not isinstance(entry, Mapping) or not _text(entry, "address", _MAX_NAME):
        return None
    try:
        state = MachineCondition(_text(entry, "state", 32))
    except ValueError:
        state = MachineCondition.UNKNOWN
    count, diff = entry.get("changedLines"), entry.get("diff")
    is_count = isinstance(count, int) and not isinstance(count, bool) and 0 <= count < _LARGEST
    lines = diff[:MAX_LINES_OF_A_MACHINE] if isinstance(diff, (list, tuple)) else ()
    return MachineStatus(
        address=_text(entry, "address", _MAX_NAME),
        role=_text(entry, "role", 32),
        state=state,
        since=_text(entry, "since", 64),
        version=_text(entry, "version", 64),
        message=_text(entry, "message", _MAX_MESSAGE),
        cure=_text(entry, "cure", _MAX_MESSAGE),
        changed_lines=count if is_count and isinstance(count, int) else 0,
        needs_reboot=entry.get("needsReboot") is True,
        changes_kubernetes=entry.get("changesKubernetes") is True,
        diff=tuple(line[:MAX_LINE] for line in lines if isinstance(line, str)),
        applied_at=_text(entry, "appliedAt", 64),
    )


def _text(entry: Mapping[str, Any], key: str, longest: int) -> str:
    value = entry.get(key)
    return value[:longest] if isinstance(value, str) else ""
