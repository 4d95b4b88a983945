"""The head of a git bundle, read without git: which commits it says it has, where its pack begins.

git's own fetch from a bundle checks no objects before git 2.43, so the pack is handed to
``git index-pack --strict`` instead, and for that it has to be found.
Format: git's Documentation/gitformat-bundle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

MAX_HEAD_BYTES = 64 * 1024
_SIGNATURES = (b"# v2 git bundle\n", b"# v3 git bundle\n")
_REF = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) (refs/[!-~]+)\n\Z")


class BundleRefused(ValueError):
    """Not a bundle as the work side makes them."""


@dataclass(frozen=True)
class BundleHead:
    """``refs``: name to commit; ``pack_offset``: bytes before the pack."""

    refs: dict[str, str]
    pack_offset: int


def read_head(file: BinaryIO) -> BundleHead:
    """The head of the bundle at the file's beginning. BundleRefused beyond 64 KiB of it."""
    head = file.read(MAX_HEAD_BYTES)
    end = head.find(b"\n\n")
    if not head.startswith(_SIGNATURES) or end < 0:
        raise BundleRefused("not a git bundle")
    refs = {}
    for line in head[: end + 1].splitlines(keepends=True)[1:]:
        if line[:1] in (b"-", b"@"):  # a prerequisite, a capability
            continue
        match = _REF.match(line)
        if match is None:
            raise BundleRefused("a bundle's head names only commits and refs")
        refs[match[2].decode()] = match[1].decode()
    return BundleHead(refs, end + 2)
