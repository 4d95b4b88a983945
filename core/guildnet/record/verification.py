"""What every commit of the status branch must be, if only reconcilers wrote it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from guildnet.digest import readable_json
from guildnet.git import Change, CommitInfo
from guildnet.record.paths import MAX_RECORD_BYTES, Kind, StatusFile, parse_status_path


def chain_problem(info: CommitInfo, *, author: str) -> str | None:
    """What is wrong with a commit itself: the branch is a chain of commits by one author."""
    if len(info.parents) > 1:
        return f"a merge of {len(info.parents)} commits; reconcilers only add single commits"
    if info.author != author:
        return f"written by {info.author[:100]}, not by {author}"
    return None


def change_problems(info: CommitInfo, changes: Sequence[Change]) -> Iterator[tuple[str, str]]:
    """(path, problem) of each change that a reconciler does not make.

    The first commit of the branch is not signed: it adds files that explain it, and no records.
    """
    for change in changes:
        file = parse_status_path(change.path)
        if (file is None) == bool(info.parents):
            yield change.path, "not a file that reconcilers write in this commit"
        elif change.status != "D" and (change.kind != "file" or change.mode != "100644"):
            yield change.path, f"not a regular file (mode {change.mode})"


def recorded_file(change: Change) -> StatusFile | None:
    """The file of a change whose content is canonical JSON; None for artifacts and deletions."""
    file = parse_status_path(change.path)
    is_json = file is not None and file.kind is not Kind.ARTIFACT
    return file if is_json and change.status != "D" and change.kind == "file" else None


def content_problem(data: bytes | None) -> str | None:
    """What is wrong with the content of a recorded file; `data` is None if it is too large."""
    if data is None:
        return f"more than {MAX_RECORD_BYTES:,} bytes"
    try:
        value = json.loads(data)
        is_canonical = isinstance(value, dict) and readable_json(value) == data
    except (ValueError, RecursionError):
        return "not valid JSON"
    return None if is_canonical else "not in the form that reconcilers write"
