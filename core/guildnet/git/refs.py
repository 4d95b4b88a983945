"""Names of refs: which are valid, and what they are called in a mirror and on its remote. Pure."""

from __future__ import annotations

import re

_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\-][^\x00-\x20\x7f~^:?*\[\\]*")


def is_commit_id(text: str) -> bool:
    """Whether `text` is a full object id."""
    return _ID.fullmatch(text) is not None


def tracking_ref(name: str) -> str:
    """The mirror's ref for a branch, a full ref or a commit id of the remote."""
    if is_commit_id(name):
        return f"refs/guildnet/commits/{name}"
    if name.startswith("refs/heads/"):
        return f"refs/remotes/origin/{name.removeprefix('refs/heads/')}"
    return name if name.startswith("refs/") else f"refs/remotes/origin/{name}"


def is_ref_name(name: str) -> bool:
    """Whether `name` can be a ref: no revision syntax, no option, at most 255 characters."""
    return (
        len(name) <= 255
        and _REF.fullmatch(name) is not None
        and not any(part in name for part in ("..", "@{", "//"))
        and not name.endswith(("/", ".lock", "."))
    )


def remote_ref(name: str) -> str:
    """The remote's full name of a branch, a full ref or a commit id."""
    return name if is_commit_id(name) or name.startswith("refs/") else f"refs/heads/{name}"
