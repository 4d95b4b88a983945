"""What waits for the next commit on the status branch, and how that commit is called. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from guildnet import labels
from guildnet.record import org_folder, parse_status_path


@dataclass
class Batch:
    """What waits for the next commit, and whom it is about: (org, task "" for the org) -> word."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    subjects: dict[tuple[str, str], str] = field(default_factory=dict)

    def message(self, source_revision: str) -> str:
        trailer = f"{labels.SOURCE_REVISION_TRAILER}: {source_revision}" if source_revision else ""
        return f"{self._subject()}\n\n{trailer}\n"

    def _subject(self) -> str:
        tasks = {key: word for key, word in self.subjects.items() if key[1]}
        orgs = {org for org, _ in (tasks or self.subjects)}
        if len(tasks) == 1:
            ((org, task), word) = next(iter(tasks.items()))
            return f"status({org}): {task} {word}"
        if tasks:
            return f"status: {len(tasks)} tasks in {_counted(len(orgs), 'org')}"
        if len(orgs) == 1:
            return f"status({next(iter(orgs))}): {next(iter(self.subjects.values()))}"
        return f"status: {_counted(len(orgs), 'org')}"

    def split(self, org: str) -> tuple[Batch, Batch]:
        """What is about tasks of the org, and the rest."""
        tasks = (f"{org_folder(org)}/tasks/", f"{org_folder(org)}/removed/")
        taken, rest = Batch(), Batch()
        for path, content in self.files.items():
            (taken if path.startswith(tasks) else rest).files[path] = content
        for subject, word in self.subjects.items():
            is_task = subject[0] == org and bool(subject[1])
            (taken if is_task else rest).subjects[subject] = word
        return taken, rest

    def only(self, subjects: Collection[tuple[str, str]]) -> Batch:
        """What is about these subjects."""
        wanted = set(subjects)
        files = {p: content for p, content in self.files.items() if subject_of(p) in wanted}
        return Batch(files, {s: word for s, word in self.subjects.items() if s in wanted})

    def under(self, newer: Batch) -> Batch:
        """This batch and a newer one as one."""
        return Batch({**self.files, **newer.files}, {**self.subjects, **newer.subjects})


def subject_of(path: str) -> tuple[str, str] | None:
    """(org, task "" for the org itself) of a file of the status branch; None for another path."""
    file = parse_status_path(path)
    return None if file is None else (file.org, file.task)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
