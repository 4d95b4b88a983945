"""One pass over one org, from its file to its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from guildnet.errors import GuildNetError, KubeError, KubeUnavailable
from guildnet.notify.delivery import Courier
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet.resources import Org
from guildnet_reconciler.capacity.deadline import PassDeadline
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.faults import (
    DONE,
    INTERNAL_ERROR,
    Fault,
    Firewall,
    StepResult,
    pass_on_requested_end,
    waiting_for,
)
from guildnet_reconciler.machines.keeper import MACHINES, MachineKeeper
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.claim import Claim
from guildnet_reconciler.org.connection import LEASE, WATCH, OrgConnection
from guildnet_reconciler.org.finalizers import Finalizers
from guildnet_reconciler.org.notifier import Notifier
from guildnet_reconciler.org.observer import Observer, part_of
from guildnet_reconciler.org.org_file import OrgFile
from guildnet_reconciler.org.recorder import Recorder
from guildnet_reconciler.org.relocation import Relocation
from guildnet_reconciler.org.reporter import Reporter
from guildnet_reconciler.org.session import OrgSession
from guildnet_reconciler.org.situations import Situations
from guildnet_reconciler.org.state import Expiries, Scope, TaskFindings
from guildnet_reconciler.org.task_apply import TaskApply
from guildnet_reconciler.org.task_pass import TaskPass
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.org_source import OrgSource, SourceTree

PASS, REMEMBERING = "pass", "reading its record"


class OrgReconciler:
    """Makes the passes of one org. `wake` asks the scheduler for a pass over a scope.

    Each part of the org's state belongs to one object here, and only that object changes it.
    """

    def __init__(
        self,
        name: str,
        *,
        tree: SourceTree,
        status: StatusWriter,
        settings: Settings,
        metrics: Metrics,
        capacity: Capacity,
        wake: Callable[[Scope], None],
    ) -> None:
        self.name = name
        self._tree = tree
        self._status = status
        self._settings = settings
        self._metrics = metrics
        self._capacity = capacity
        self._threads = capacity.threads.share()
        self._validation = capacity.validation.share(self._threads)
        self._wake = wake
        self._last = DONE
        self._fault: Fault | None = None
        self._is_remembered = False
        self._talos = ("", "")
        self.firewall = Firewall(name, self._report_defects)
        self._file = OrgFile(name, tree, self._threads, self._validation)
        self._findings = TaskFindings()
        self._expiries = Expiries()
        self._notifier = Notifier(
            name,
            org=lambda: self._file.org,
            status=status,
            firewall=self.firewall,
            courier=Courier(name, settings.state_dir),
            may_send=lambda: not self._session.is_left_to_others,
            on_fault=self.report,
        )
        self._recorder = Recorder(name, status, self._notifier.task_changed)
        self._finalizers = Finalizers(name, status, self._recorder)
        self._claim = Claim(name, tree, settings.status_branch, status, self._threads)
        self._session = OrgSession(
            name,
            status,
            settings,
            metrics,
            capacity=capacity,
            identity={
                "org": name,
                "stateRepository": tree.place,
                "statusRoot": settings.status_branch,
            },
        )
        self._relocation = Relocation(
            session=self._session,
            claim=self._claim,
            tree=tree,
            status=status,
            threads=self._threads,
            on_left=self._left_location,
        )
        self._observer = self._session.watcher = Observer(
            name,
            firewall=self.firewall,
            session=self._session,
            claim=self._claim,
            recorder=self._recorder,
            finalizers=self._finalizers,
            expiries=self._expiries,
            status=status,
            metrics=metrics,
            wake=wake,
            report=self._report,
            report_refusals=self._report_refusals,
            remember=self._remember,
        )
        self._machines = MachineKeeper(
            name,
            settings=settings,
            threads=capacity.machine_threads.share(),
            mirror=tree.mirror,
            metrics=metrics,
            firewall=self.firewall,
            is_left_to_others=lambda: self._session.is_left_to_others,
            holds_lease=lambda: self._session.holds_lease,
            on_change=self._report,
        )
        self._reporter = Reporter(
            name,
            file=self._file,
            findings=self._findings,
            recorder=self._recorder,
            claim=self._claim,
            relocation=self._relocation,
            session=self._session,
            firewall=self.firewall,
            machines=self._machines,
            notifier=self._notifier,
            tree=tree,
            status=status,
            metrics=metrics,
        )
        with self.firewall.around(REMEMBERING):
            self._remember()

    def _remember(self) -> None:
        """Take over what the status branch holds of earlier passes, of any process."""
        record = self._status.of(self.name).org
        if record is not None:
            self._claim.remember(record)
            self._file.remember(record)
            self._findings.remember(record)
            self._machines.remember(record)
        self._is_remembered = True

    # --- the pass ---------------------------------------------------------------------------

    async def run(self, scope: Scope, deadline: PassDeadline) -> Outcome:
        """Make one pass. Every failure, a defect included, becomes an outcome and is reported."""
        outcome: Outcome | None = None
        with self.firewall.around(PASS):
            outcome = await self._pass(scope, deadline)
        if outcome is None:
            scope.full = True  # a defect ended it: look at everything again
        else:
            awaiting = map(part_of, self._recorder.awaiting_artifacts)
            self.firewall.settle_all_but({*self._unproven(), *awaiting})
            if not self.firewall.faults or not isinstance(outcome, Done):
                return outcome
        return Waiting(INTERNAL_ERROR, "; ".join(f.message for f in self.firewall.faults))

    def _unproven(self) -> set[str]:
        """The parts beside the passes that are not known to work again."""
        connection = self._session.connection
        works = {
            LEASE: connection is not None and connection.held,
            WATCH: connection is not None and connection.synced,
            MACHINES: self._machines.works,
        }
        return {part for part, is_well in works.items() if not is_well}

    async def _pass(self, scope: Scope, deadline: PassDeadline) -> Outcome:
        if not self._is_remembered:
            self._remember()
            self.firewall.settle(REMEMBERING)
        try:
            result = await self._steps(scope, deadline)
        except KubeError as error:
            fault = self._session.fault_of(error)
            is_transient = fault is not None and isinstance(error, KubeUnavailable)
            result = StepResult(waiting_for(error), fault, is_transient=is_transient)
        except GuildNetError as error:
            result = StepResult(waiting_for(error), Fault.of(error))
        is_first_failure = result.is_transient and not self._last.is_transient
        self._fault = None if is_first_failure else result.fault
        self._last = result
        self._machines.follow(None if self._file.is_missing else self._file.org, *self._talos)
        self.report()
        return result.outcome

    async def _steps(self, scope: Scope, deadline: PassDeadline) -> StepResult:
        if self._status.lost is not None:
            return StepResult(self._status.lost)

        # Load: the org's file, and the tasks of the scope.
        scope.tasks |= self._expiries.take(datetime.now(UTC)) | self._findings.held.keys()
        names = None if scope.full or scope.org_file else frozenset(scope.tasks)
        source = await self._threads.run(self._tree.take, self.name, names)
        self._talos = (source.revision, source.talos)
        scope.cover(source.names)
        records = self._status.of(self.name)
        if self._file.is_gone(source, records):
            self._file.forget()
            if records.org is not None:
                self._status.remove_org(self.name)
            return DONE
        loaded = await self._file.load(source, records.org, self._claim.attempted)
        if not loaded.is_done:
            return loaded

        # Enter the cluster: hold the Lease, list the AgentTasks, claim the namespace.
        entered = await self._relocation.enter(self._file.in_force, source)
        if not entered.is_done:
            return entered
        connection = self._session.active
        org = self._file.in_force
        if org.cluster != connection.location:  # a move is held
            org = replace(org, cluster=connection.location)
        claimed = await self._claim.take(org, connection.client, source)
        if not claimed.is_done:
            return claimed

        # Plan, guard, apply and prune the tasks; record what they report.
        if org.suspended:
            result = DONE
        elif source.problem is not None:
            result = StepResult.stalled(Fault("TasksUnreadable", str(source.problem)))
        else:
            result = await self._task_pass(org, connection, source, deadline).run(scope)
        await self._record(connection)
        await self._finalizers.lift(connection)

        # Confirm the revision, or forget an org that is gone with all its tasks.
        is_done = result.is_done and not self._findings.released
        if is_done and not org.suspended and not self._reporter.is_open(result.fault):
            await self._claim.confirm(org, connection.client)
        if self._file.is_missing:
            result = await self._forget_if_empty(org, connection, result)
        if self._relocation.hold is not None:
            hold = self._relocation.hold
            return replace(result, outcome=Stalled(hold.reason, hold.message))
        return result

    def _task_pass(
        self, org: Org, connection: OrgConnection, source: OrgSource, deadline: PassDeadline
    ) -> TaskPass:
        files = {} if source.org_file is None else source.files
        situations = Situations(files, connection.inventory.tasks, self._status.of(self.name))
        apply = TaskApply(
            org=org,
            revision=source.revision,
            situations=situations,
            findings=self._findings,
            connection=connection,
            tree=self._tree,
            status=self._status,
            metrics=self._metrics,
            threads=self._threads,
            validation=self._validation,
            deadline=deadline,
            large_passes=self._capacity.large_passes,
            in_flight=self._settings.in_flight,
            on_written=self._observer.written,
        )
        return TaskPass(
            org=org,
            source=source,
            files=files,
            findings=self._findings,
            situations=situations,
            connection=connection,
            tree=self._tree,
            approvals=self._tree.approvals(source.revision, self._claim.applied),
            status=self._status,
            metrics=self._metrics,
            threads=self._threads,
            apply=apply,
            in_flight=self._settings.in_flight,
            is_move_held=self._relocation.hold is not None,
        )

    async def _record(self, connection: OrgConnection) -> None:
        """Fetch artifacts, and record the tasks that were awaiting them."""
        for name in self._recorder.awaiting_artifacts:
            with self.firewall.around(part_of(name), passes=(GuildNetError,)):
                if await self._recorder.record_with_artifacts(name, connection.client):
                    self._observer.wake_dependents(name)
                self._observer.expect_expiry(connection.inventory.tasks.get(name))

    async def _forget_if_empty(
        self, org: Org, connection: OrgConnection, result: StepResult
    ) -> StepResult:
        """Leave the cluster once an org without a file has no task left."""
        if self._status.of(self.name).recorded or connection.inventory.tasks:
            return result
        if not await self._status.flush():
            message = "the tombstones of its tasks are not on the status branch yet"
            return replace(result, outcome=Waiting("NotRecorded", message))
        await self._claim.release(org, connection.client)
        self._status.remove_org(self.name)
        await self._session.leave()
        self._claim.leave()
        self._findings.forget_released()
        self._file.forget()
        return result

    def _left_location(self) -> None:
        """The org starts to work elsewhere: everything has to be looked at."""
        self._claim.leave()
        self._findings.forget_released()
        self._wake(Scope(full=True))

    # --- what the scheduler asks ------------------------------------------------------------

    @property
    def is_clean(self) -> bool:
        """Whether nothing is failed, held or quarantined."""
        with self.firewall.around("state"):
            is_misplaced = bool(self._tree.faults_of(self.name))
            is_open = is_misplaced or self._reporter.is_open(self._fault)
            return not is_open and self._session.problem is None
        return False

    @property
    def is_held(self) -> bool:
        """Whether a commit that only approves something could change the plan."""
        return bool(self._findings.held or self._relocation.hold)

    @property
    def has_checked(self) -> bool:
        """Whether no check of Talos machines runs or was asked for."""
        return self._machines.is_idle

    @property
    def kubeconfig(self) -> str | None:
        """The name of the kubeconfig that it uses, or waits for."""
        location = self._session.location
        if location is None and self._file.org is not None:
            location = self._file.org.cluster
        return location.kubeconfig if location is not None else None

    @property
    def failed_tasks(self) -> set[str]:
        return set(self._findings.failed)

    @property
    def next_expiry(self) -> datetime | None:
        """When the next TTL of a finished AgentTask ends."""
        return self._expiries.next

    @property
    def awaits_finalizers(self) -> bool:
        """Whether deleted AgentTasks still carry our finalizer."""
        return bool(self._finalizers)

    @property
    def is_notifying(self) -> bool:
        """Whether a receiver is sent something that it has not refused yet."""
        return self._notifier.is_first_try

    def records_pushed(self) -> None:
        """More records are on the remote status branch: finalizers may be waiting for them."""
        with self.firewall.around("records"):
            if self._finalizers or self._is_budget_outdated():
                self._wake(Scope())
            self._observer.refusals_changed()

    def _is_budget_outdated(self) -> bool:
        org = self._file.org
        return org is not None and self._claim.is_budget_outdated(org)

    async def close(self) -> None:
        """Release the Lease and close the connections."""
        await self._machines.close()
        await self._notifier.close()
        await self._session.leave()

    # --- report -----------------------------------------------------------------------------

    def report(self) -> None:
        """Put the org's record, unless another replica does."""
        with self.firewall.around("report"):
            self._report()

    def _report(self) -> None:
        if not self._is_remembered:
            raise LookupError("the org's record could not be read")
        self._reporter.report(self._fault)

    def _report_refusals(self) -> None:
        if self._reporter.has_new_refusals:
            self._report()

    def _report_defects(self) -> None:
        """Put the record after a defect; if that fails, the last record with the defect."""
        try:
            self._report()
        except BaseException as error:
            pass_on_requested_end(error)
            self._reporter.report_defects()
