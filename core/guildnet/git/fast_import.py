"""The input of `git fast-import`: one commit as a stream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guildnet.errors import GitError


@dataclass(frozen=True, slots=True)
class BlobId:
    """Content that the repository already contains."""

    id: str


Content = bytes | BlobId | None
"""The new content of a file; None deletes the file."""


@dataclass(frozen=True, slots=True)
class CommitDraft:
    """A commit to create. `person` is `Name <mail>`; `when` seconds since 1970, UTC."""

    parent: str | None
    changes: Mapping[str, Content]
    message: str
    person: str
    when: int


def check_path(path: str) -> str:
    """Return `path`. Raises GitError unless it is a normalized path below the root (I9)."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise GitError(f"{path[:200]!r} is not a path of a file in a repository")
    return path


def stream(draft: CommitDraft, ref: str) -> bytes:
    """The input with which fast-import creates the commit on `ref` and prints its id."""
    message = draft.message.rstrip("\n") + "\n"
    lines = [f"commit {ref}", "mark :1"]
    lines += [f"{role} {draft.person} {draft.when} +0000" for role in ("author", "committer")]
    parts = [_line(*lines), _data(message.encode())]
    if draft.parent is not None:
        parts.append(_line(f"from {draft.parent}"))
    # Deletions first: a file can replace a folder, and a folder a file.
    for path, content in sorted(draft.changes.items(), key=lambda item: item[1] is not None):
        parts.append(_change(check_path(path), content))
    parts.append(_line("", "get-mark :1", "done"))
    return b"".join(parts)


def _change(path: str, content: Content) -> bytes:
    if content is None:
        return _line(f"D {_quoted(path)}")
    if isinstance(content, BlobId):
        return _line(f"M 100644 {content.id} {_quoted(path)}")
    return _line(f"M 100644 inline {_quoted(path)}") + _data(content)


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _data(content: bytes) -> bytes:
    return b"data %d\n" % len(content) + content + b"\n"


def _line(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
