"""Decides when an org's machines are checked, and keeps what is known of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from guildnet.backoff import spread
from guildnet.git import Mirror
from guildnet.record import MachineCondition, MachinesReport, MachineStatus, OrgRecord
from guildnet.resources import Org
from guildnet.talos.files import RevisionFiles
from guildnet.talos.process import Interruption
from guildnet.talos.spec import TalosSpec, talos_of
from guildnet.talos.state import TalosState
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.faults import Firewall
from guildnet_reconciler.machines.check import Found, Job, check
from guildnet_reconciler.machines.rules import Rota
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.settings import Settings

log = logging.getLogger(__name__)

MACHINES = "Talos machines"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What git says of the machines. `key` changes exactly when a file about them does."""

    spec: TalosSpec
    revision: str
    key: tuple[str, str]
    suspended: bool


class MachineKeeper:
    """The machines of one org, checked in a task of its own: no pass ever waits for it.

    `is_left_to_others` says whether another replica works on the org, `holds_lease` whether this
    one may change anything. `on_change` is called when the report has changed.
    """

    def __init__(
        self,
        org: str,
        *,
        settings: Settings,
        threads: ThreadShare,
        mirror: Mirror,
        metrics: Metrics,
        firewall: Firewall,
        is_left_to_others: Callable[[], bool],
        holds_lease: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        self.report: MachinesReport | None = None
        self._org = org
        self._settings = settings
        self._threads = threads
        self._mirror = mirror
        self._metrics = metrics
        self._firewall = firewall
        self._is_left_to_others = is_left_to_others
        self._holds_lease = holds_lease
        self._on_change = on_change
        self._wanted: Wanted | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._interruption = Interruption()
        self._rota = Rota()
        self._known: dict[str, MachineStatus] = {}
        self._refused: Mapping[str, MachineStatus] = {}
        self._is_checking = False
        self.works = True
        """Whether the last check ended without a defect."""

    # --- what the passes say ----------------------------------------------------------------

    def remember(self, record: OrgRecord) -> None:
        """Take over what the record says, from this or another process."""
        self.report = MachinesReport.from_json(record.talos) or self.report

    def follow(self, org: Org | None, revision: str, folder: str) -> None:
        """Take in what a revision says; ask for a check where that has changed. `folder` is the id
        of orgs/<org>/talos/ in it."""
        wanted = _wanted(org, revision, folder)
        before, self._wanted = self._wanted, wanted
        if wanted is None:
            if self.report is not None or before is not None:
                self.report, self._known = None, {}
                self._interruption.set()
                self._metrics.set_machines(self._org, None)
            return
        is_same = before is not None and (before.key, before.suspended) == (
            wanted.key,
            wanted.suspended,
        )
        if not is_same:
            self._known, self._refused = {}, {}
            self._rota.restart()
            self._interruption.set()
            self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"machines of {self._org}")

    @property
    def is_idle(self) -> bool:
        """Whether no check runs or was asked for."""
        return not (self._is_checking or self._changed.is_set())

    async def close(self) -> None:
        """End a check that runs."""
        self._interruption.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    # --- checking ---------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                pause = spread(self._settings.machine_interval).total_seconds()
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            self._is_checking = True
            self._changed.clear()
            self.works = False
            with self._firewall.around(MACHINES):
                await self._check()
                self.works = True
            self._is_checking = False

    async def _check(self) -> None:
        wanted = self._wanted
        if self._is_left_to_others():
            self._wanted = None  # the first pass with the Lease asks for a check
            return
        if wanted is None:
            return
        due = self._rota.due(wanted.spec.machines)
        if not due:
            return
        self._interruption = interruption = Interruption()
        job = Job(
            spec=wanted.spec,
            files=RevisionFiles(self._mirror, wanted.revision),
            state=TalosState.of(self._org, self._settings.state_dir),
            identity=self._settings.age_identity,
            due=due,
            known=dict(self._known),
            refused=dict(self._refused),
            obstacle=lambda: self._obstacle(wanted),
            interruption=interruption,
        )
        found = await self._threads.run(check, job)
        if not interruption.is_set:
            self._take(wanted, found)

    def _obstacle(self, wanted: Wanted) -> str:
        """Why nothing may be applied. Called from the thread of the check."""
        if wanted.suspended:
            return "the org is suspended"
        return "" if self._holds_lease() else "the reconciler does not hold the org's Lease"

    def _log(self, report: MachinesReport) -> None:
        bad, total = len(report.out_of_sync), len(report.machines)
        words = report.problem or f"{total - bad} of {total} Talos machines are as git says"
        log.log(
            logging.WARNING if bad or report.problem else logging.INFO,
            "%s",
            words,
            extra={"org": self._org},
        )

    def _take(self, wanted: Wanted, found: Found) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = {m.address: m for m in self.report.machines} if self.report is not None else {}
        self._refused = found.refused
        for address, status in found.statuses.items():
            away = status.state is MachineCondition.UNREACHABLE
            self._rota.asked(address, is_away=away)
            self._known[address] = status
            if status.applied_at:
                log.info("%s: applied what git says", address, extra={"org": self._org})
        machines: list[MachineStatus] = []
        for machine in wanted.spec.machines:
            latest = MachineStatus(machine.address, machine.role, MachineCondition.UNKNOWN)
            if found.error is None:
                latest = self._known.get(machine.address, latest)
            machines.append(latest.after(before.get(machine.address), now))
        report = MachinesReport(
            str(wanted.spec.reconcile),
            tuple(machines),
            certificates=found.certificates,
        )
        if found.error is not None:
            report = MachinesReport(
                report.reconcile,
                report.machines,
                self._firewall.redact.message(_described(found)),
                found.error.cure or "",
                self.report.certificates if self.report is not None else (),
            )
        self._metrics.set_machines(self._org, report.counts())
        if report != self.report:
            self._log(report)
            self.report = report
            self._on_change()


def _described(found: Found) -> str:
    error = found.error
    assert error is not None
    return f"{error.place}: {error.message}" if error.place else error.message


def _wanted(org: Org | None, revision: str, folder: str) -> Wanted | None:
    spec = talos_of(org) if org is not None else None
    if org is None or spec is None or spec.reconcile is None:
        return None
    return Wanted(spec, revision, (org.source.blob, folder), org.suspended)
