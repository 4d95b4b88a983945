"""What the status branch said, commit by commit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any


def git(remote: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(remote), *args], check=True, capture_output=True, text=True
    )
    return done.stdout


def broken_steps(remote: Path, branch: str) -> list[str]:
    """Every move of the branch that was no step forward (I6)."""
    moves = git(remote, "reflog", "show", "--format=%H", branch).split()
    return [
        f"I6: {branch} went from {old} to {new}"
        for new, old in pairwise(moves)
        if not _is_ancestor(remote, old, new)
    ]


def _is_ancestor(remote: Path, old: str, new: str) -> bool:
    command = ["git", "-C", str(remote), "merge-base", "--is-ancestor", old, new]
    return subprocess.run(command, check=False).returncode == 0


def taken_back(remote: Path, branch: str) -> list[str]:
    """Every commit after which a task's run was lower, or a finished one not what it was (I7)."""
    wrongs: list[str] = []
    latest: dict[str, tuple[int, str | None]] = {}
    for commit in git(remote, "rev-list", "--reverse", branch).split():
        for task, record in _records(remote, commit):
            run, result = record["run"], record.get("result")
            before_run, before_result = latest.get(task, (0, None))
            is_lower = run < before_run
            if is_lower or (run == before_run and before_result not in (None, result)):
                now, was = (run, result), (before_run, before_result)
                wrongs.append(f"I7: {task} was {was} and is {now} in {commit}")
            latest[task] = (run, result)
    return wrongs


def _records(remote: Path, commit: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of tasks, and tombstones, that a commit changed."""
    diff = git(remote, "diff-tree", "--root", "-r", "--no-commit-id", "--diff-filter=AM", commit)
    for line in diff.splitlines():
        path = line.partition("\t")[2]
        parts = path.split("/")
        if parts[-1] == "status.json" or parts[2:3] == ["removed"]:
            record = json.loads(git(remote, "show", f"{commit}:{path}"))
            yield f"{record['org']}/{record['task']}", record
