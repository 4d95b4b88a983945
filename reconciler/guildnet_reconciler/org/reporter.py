"""Turns what is known of an org into its record and metrics. Nothing else writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from guildnet.errors import GuildNetError, KubeError, KubeForbidden, KubeNotFound
from guildnet.record import OrgRecord
from guildnet_reconciler.faults import Fault, Firewall
from guildnet_reconciler.machines.keeper import MachineKeeper
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.claim import Claim
from guildnet_reconciler.org.notifier import Notifier
from guildnet_reconciler.org.org_file import OrgFile
from guildnet_reconciler.org.recorder import Recorder
from guildnet_reconciler.org.relocation import Relocation
from guildnet_reconciler.org.session import OrgSession
from guildnet_reconciler.org.state import TaskFindings
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.source.org_source import SourceTree
from guildnet_reconciler.steps.report import org_record, unreachable


class Reporter:
    """Reads the parts of one org's state, and changes none of them."""

    def __init__(
        self,
        name: str,
        *,
        file: OrgFile,
        findings: TaskFindings,
        recorder: Recorder,
        claim: Claim,
        relocation: Relocation,
        session: OrgSession,
        firewall: Firewall,
        machines: MachineKeeper,
        notifier: Notifier,
        tree: SourceTree,
        status: StatusWriter,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._file = file
        self._findings = findings
        self._recorder = recorder
        self._claim = claim
        self._relocation = relocation
        self._session = session
        self._firewall = firewall
        self._machines = machines
        self._notifier = notifier
        self._tree = tree
        self._status = status
        self._metrics = metrics
        self._outage: dict[str, Any] | None = None
        self._refused: tuple[Fault, ...] = ()

    @property
    def has_new_refusals(self) -> bool:
        """Whether refused AgentTasks, or records that cannot be written, differ from the record."""
        return self.refused() != self._refused

    def is_open(self, fault: Fault | None) -> bool:
        """Whether anything is failed, held or quarantined; `fault` is that of the pass."""
        return bool(
            fault
            or self._findings.is_open
            or self._file.quarantine
            or self._file.orphans
            or self._relocation.hold
            or self._recorder.unrecorded
            or self.refused()
            or self._firewall.faults
        )

    def refused(self) -> tuple[Fault, ...]:
        """AgentTasks of which a part is not accepted, and records that could not be written."""
        connection = self._session.connection
        seen = connection.inventory.refused if connection is not None else {}
        dropped = self._status.unwritable(self._name)
        return (
            *(Fault("NotUnderstood", f"AgentTask {n}: {seen[n]}", n) for n in sorted(seen)),
            *(Fault("NotWritten", dropped[task], task) for task in sorted(dropped)),
        )

    def report(self, fault: Fault | None) -> None:
        """Put the org's record; `fault` is that of its last pass.

        Nothing is put where another replica reports, or where nothing is left of the org.
        """
        connection, file = self._session.connection, self._file
        is_gone = file.org is None and file.is_missing and not file.orphans
        others = self._session.is_left_to_others
        if (others and not self._firewall.faults) or is_gone or self._status.lost is not None:
            return
        problem = self._session.problem
        if isinstance(problem, (KubeNotFound, KubeForbidden)):
            # The cluster answers: something is not installed or not allowed there.
            fault, problem = self._session.fault_of(problem), None
        self._refused = self.refused()
        cluster = self._cluster(problem)
        is_claimed = connection is not None and self._claim.data is not None
        record = org_record(
            self._name,
            self._status.of(self._name),
            attempted=self._claim.attempted,
            applied=self._claim.applied,
            cluster=cluster,
            location=self._session.location if is_claimed else None,
            namespace_uid=self._claim.namespace_uid,
            suspended=file.org is not None and file.org.suspended,
            quarantined=[
                *([file.quarantine] if file.quarantine else []),
                *(bad for _, bad in sorted(self._findings.quarantined.items())),
            ],
            held=[
                *([self._relocation.hold] if self._relocation.hold else []),
                *(hold for _, hold in sorted(self._findings.held.items())),
            ],
            faults=self._faults(fault),
            machines=self._machines.report,
        )
        record = self._notifier.noted(record)
        self._status.put_org(record, "org" if cluster["reachable"] else "cluster unreachable")
        self._notifier.wake()
        self._measure(record.counts, reachable=bool(cluster["reachable"]), fault=fault)

    def report_defects(self) -> None:
        """Put the last record with our own defects as its faults: no new one could be made."""
        before = self._status.of(self._name).org or OrgRecord(self._name)
        faults = tuple(fault.to_json() for fault in self._firewall.faults)
        self._status.put_org(replace(before, faults=faults))
        self._metrics.faults.labels(self._name).set(len(faults))

    def _faults(self, fault: Fault | None) -> list[Fault]:
        failed, unrecorded = self._findings.failed, self._recorder.unrecorded
        return [
            *self._tree.faults,
            *self._tree.faults_of(self._name),
            *([fault] if fault else []),
            *self._firewall.faults,
            *self._refused,
            *(failed[task] for task in sorted(failed)),
            *(unrecorded[task] for task in sorted(unrecorded)),
            *self._notifier.faults,
        ]

    def _cluster(self, problem: GuildNetError | None) -> dict[str, Any]:
        """One outage has many errors: the first is kept, so that the record changes once."""
        if problem is None:
            self._outage = None
            return {"reachable": True}
        if isinstance(problem, KubeError) and self._outage is not None:
            return self._outage
        cluster = unreachable(problem)
        self._outage = None if self._session.is_unconfigured else cluster
        return cluster

    def _measure(self, counts: Mapping[str, int], *, reachable: bool, fault: Fault | None) -> None:
        name, metrics = self._name, self._metrics
        metrics.reachable.labels(name).set(reachable)
        metrics.held.labels(name).set(counts["held"])
        metrics.quarantined.labels(name).set(counts["quarantined"])
        defects = len(self._firewall.faults)
        metrics.faults.labels(name).set(len(self._findings.failed) + defects + (fault is not None))
        used = self._claim.budget_used(self._file.org) if self._file.org else None
        if used is not None:
            metrics.budget_used.labels(name).set(used)
