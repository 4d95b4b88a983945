"""A revision of the source tree, read from the mirror."""

from __future__ import annotations

from dataclasses import dataclass

from guildnet.git import Mirror
from guildnet_reconciler.source.listing import Node

BYTES_PER_ENTRY = 320
"""An entry of a tree object is a mode, a name of at most 255 bytes as a rule, and an id."""


@dataclass(frozen=True, slots=True)
class GitTree:
    """Implements `listing.TreeReader`. Blocks; raises GitError."""

    mirror: Mirror
    revision: str

    def find(self, path: str) -> Node | None:
        """What is at the path of the revision; None when nothing is."""
        found = self.mirror.lookup(f"{self.revision}:{path}")
        if found is None:
            return None
        return Node(path, "folder" if found.type == "tree" else "file", found.id)

    def children(self, folder: Node, max_entries: int) -> list[Node] | None:
        """The entries of a folder; None for more than `max_entries`."""
        entries = self.mirror.folder(folder.id, max_bytes=max_entries * BYTES_PER_ENTRY)
        if entries is None or len(entries) > max_entries:
            return None
        return [Node(f"{folder.path}/{entry.path}", entry.kind, entry.blob) for entry in entries]
