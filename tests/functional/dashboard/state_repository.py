"""A real bare state repository; commits are written as people and the reconciler write them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guildnet.digest import readable_json
from guildnet.record import (
    OrgRecord,
    Removed,
    TaskRecord,
    artifact_path,
    org_record_path,
    removed_path,
    task_record_path,
)
from guildnet.resources import org_path, task_path

START = 1_795_000_000  # seconds since the epoch; commits are a minute apart
RUNNING = (("Accepted", "Valid"), ("Scheduled", "PodScheduled"), ("Ready", "AgentServing"))

Files = Mapping[str, bytes | str | None]


class StateRepository:
    """`main` and `status` of one bare repository; every method makes one commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._commits = 0
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)

    def commit(self, branch: str, files: Files, message: str = "a change") -> str:
        """Commit `files` (None deletes) on `branch` and return the new tip."""
        self._commits += 1
        parent = self.tip(branch)
        stream = bytearray(f"commit refs/heads/{branch}\n".encode())
        when = START + 60 * self._commits
        stream += f"committer A Tester <tester@example.com> {when} +0000\n".encode()
        stream += _data(message.encode())
        if parent:
            stream += f"from {parent}\n".encode()
        for path, content in files.items():
            if content is None:
                stream += f"D {path}\n".encode()
            else:
                data = content.encode() if isinstance(content, str) else content
                stream += f"M 100644 inline {path}\n".encode() + _data(data)
        self._git("fast-import", "--quiet", "--force", text=bytes(stream))
        tip = self.tip(branch)
        assert tip is not None
        return tip

    def tip(self, branch: str) -> str | None:
        found = self._git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        return found.decode().strip() or None

    def delete(self, branch: str) -> None:
        self._git("update-ref", "-d", f"refs/heads/{branch}")

    def orgs(self, *orgs: str, **tasks: tuple[str, ...]) -> str:
        """Commit org files, and task files given as org=(task, ...)."""
        files = {org_path(org): f"kind: Org # {org}\n" for org in orgs}
        for org, names in tasks.items():
            files |= {task_path(org, n): f"kind: Task\nspec:\n  prompt: do {n}\n" for n in names}
        return self.commit("main", files, "Add orgs and tasks")

    def report(self, *records: TaskRecord | OrgRecord | Removed, files: Files | None = None) -> str:
        """Commit records on the status branch, with the trailer of the source's tip."""
        changes: dict[str, bytes | str | None] = dict(files or {})
        for record in records:
            changes[record_path(record)] = readable_json(record.to_json())
            if isinstance(record, Removed):
                changes[task_record_path(record.org, record.task)] = None
        subject = f"status: {len(changes)} files"
        return self.commit("status", changes, f"{subject}\n\nSource-Revision: {self.tip('main')}\n")

    def _git(self, *arguments: str, text: bytes = b"") -> bytes:
        command = ["git", "-C", str(self.path), *arguments]
        return subprocess.run(command, input=text, check=True, capture_output=True).stdout


def record_path(record: TaskRecord | OrgRecord | Removed) -> str:
    if isinstance(record, TaskRecord):
        return task_record_path(record.org, record.task)
    if isinstance(record, Removed):
        return removed_path(record.org, record.task)
    return org_record_path(record.org)


def artifact(org: str, task: str, name: str, content: str) -> Files:
    return {artifact_path(org, task, name): content}


def task_record(org: str, task: str, **fields: Any) -> TaskRecord:
    """A record of a running task; `fields` override its values."""
    values: dict[str, Any] = {
        "run": 1,
        "digest": "sha256:0",
        "phase": "Running",
        "attempt": 1,
        "start": 1,
        "created_at": "2026-11-22T10:00:00Z",
        "started_at": "2026-11-22T10:01:00Z",
        "conditions": conditions(*RUNNING),
    }
    return TaskRecord(org=org, task=task, **(values | fields))


def conditions(
    *pairs: tuple[str, str], status: str = "True", message: str = ""
) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-11-22T10:01:00Z",
        }
        for kind, reason in pairs
    )


def _data(content: bytes) -> bytes:
    return b"data %d\n" % len(content) + content + b"\n"
