"""Collects the facts that a plan needs about each task of an org."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from guildnet import conditions
from guildnet.resources import Task
from guildnet_reconciler.records.org_records import OrgRecords
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.observe import ObservedTask
from guildnet_reconciler.steps.plan import Situation


@dataclass(frozen=True)
class Situations:
    """`files` are the tasks that have a file, `observed` those that have an AgentTask."""

    files: Mapping[str, SourceFile]
    observed: Mapping[str, ObservedTask]
    records: OrgRecords

    def of(self, name: str, task: Task | None = None) -> Situation:
        """The facts about one task; `task` is its resource where its file was loaded."""
        recorded, observed = self.records.recorded.get(name), self.observed.get(name)
        depends_on: Iterable[str] = observed.depends_on if observed else ()
        if task is not None:
            depends_on = task.spec.get("dependsOn", ())
        return Situation(
            name=name,
            file=self.files.get(name),
            task=task,
            observed=observed,
            recorded=recorded,
            recorded_uid=recorded.uid if recorded else None,
            recorded_blob=recorded.blob if recorded else None,
            removed=self.records.removed.get(name),
            continues=recorded.continues if recorded else None,
            dependencies_succeeded=all(self._has_succeeded(name) for name in depends_on),
        )

    def _has_succeeded(self, task: str) -> bool:
        recorded = self.records.recorded.get(task)
        return recorded is not None and recorded.result == conditions.TASK_SUCCEEDED
