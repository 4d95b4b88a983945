"""The input of `git fast-import`: one commit as a stream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guildnet.errors import GitError


@dataclass(frozen=True, slots=True)
class BlobId:
    """Content that is in the repository already."""

    id: str


Content = bytes | BlobId | None
"""A file's new content; None takes the file away."""


@dataclass(frozen=True, slots=True)
class CommitDraft:
    """A commit to be made. `person` is `Name <mail>`; `when` seconds since 1970, UTC."""

    parent: str | None
    changes: Mapping[str, Content]
    message: str
    person: str
    when: int


def check_path(path: str) -> str:
    """`path` itself; GitError unless it names a file below the root in the plainest way (I9)."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise GitError(f"{path[:200]!r} is no path of a file in a repository")
    return path


def stream(draft: CommitDraft, ref: str) -> bytes:
    """What fast-import reads to make the commit on `ref` and print its id."""
    message = draft.message.rstrip("\n") + "\n"
    lines = [f"commit {ref}", "mark :1"]
    lines += [f"{role} {draft.person} {draft.when} +0000" for role in ("author", "committer")]
    parts = [_line(*lines), _data(message.encode())]
    if draft.parent is not None:
        parts.append(_line(f"from {draft.parent}"))
    # Deletions first: a file may take the place of a folder, and the other way round.
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
