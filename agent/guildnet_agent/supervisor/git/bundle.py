"""Reads the header of a git bundle: its refs, and where its pack begins.

Before version 2.43 git does not check objects that it fetches from a bundle, so the pack is given
to ``git index-pack --strict`` instead.
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
    """The file is not a bundle in the form that the shim writes."""


@dataclass(frozen=True)
class BundleHead:
    """``refs``: name to commit; ``pack_offset``: bytes before the pack."""

    refs: dict[str, str]
    pack_offset: int


def read_head(file: BinaryIO) -> BundleHead:
    """Read the header of a bundle, at most 64 KiB. Raises BundleRefused."""
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
            raise BundleRefused("a line of the bundle's header is not a commit and a ref")
        refs[match[2].decode()] = match[1].decode()
    return BundleHead(refs, end + 2)
