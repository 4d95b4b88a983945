"""The files of the next commit on the status branch, and its message. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from guildnet import labels
from guildnet.record import org_folder, parse_status_path

Subject = tuple[str, str]
"""(org, task), with "" as the task for the org itself."""


@dataclass
class Batch:
    """Files by path, None where one is deleted; and the subjects with a verb for the message."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    subjects: dict[Subject, str] = field(default_factory=dict)

    def message(self, source_revision: str) -> str:
        trailer = f"{labels.SOURCE_REVISION_TRAILER}: {source_revision}" if source_revision else ""
        return f"{self._subject()}\n\n{trailer}\n"

    def _subject(self) -> str:
        tasks = {key: verb for key, verb in self.subjects.items() if key[1]}
        orgs = {org for org, _ in (tasks or self.subjects)}
        if len(tasks) == 1:
            ((org, task), verb) = next(iter(tasks.items()))
            return f"status({org}): {task} {verb}"
        if tasks:
            return f"status: {len(tasks)} tasks in {_counted(len(orgs), 'org')}"
        if len(orgs) == 1:
            return f"status({next(iter(orgs))}): {next(iter(self.subjects.values()))}"
        return f"status: {_counted(len(orgs), 'org')}"

    def split(self, org: str) -> tuple[Batch, Batch]:
        """The changes of the org's tasks, and all others."""
        tasks = (f"{org_folder(org)}/tasks/", f"{org_folder(org)}/removed/")
        taken, rest = Batch(), Batch()
        for path, content in self.files.items():
            (taken if path.startswith(tasks) else rest).files[path] = content
        for subject, verb in self.subjects.items():
            is_task = subject[0] == org and bool(subject[1])
            (taken if is_task else rest).subjects[subject] = verb
        return taken, rest

    def only(self, subjects: Collection[Subject]) -> Batch:
        """The changes of these subjects."""
        wanted = set(subjects)
        files = {p: content for p, content in self.files.items() if subject_of(p) in wanted}
        return Batch(files, {s: verb for s, verb in self.subjects.items() if s in wanted})

    def under(self, newer: Batch) -> Batch:
        """This batch with a newer one over it."""
        return Batch({**self.files, **newer.files}, {**self.subjects, **newer.subjects})


def subject_of(path: str) -> Subject | None:
    """The subject of a file of the status branch; None for any other path."""
    file = parse_status_path(path)
    return None if file is None else (file.org, file.task)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
