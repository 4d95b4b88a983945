"""A source tree in memory, for tests of the index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from guildnet_reconciler.source.listing import Node

KINDS = {"120000": "symlink", "160000": "submodule"}


@dataclass
class MemoryTree:
    """A revision whose files are `files`: path -> (mode, blob). Counts what is listed."""

    files: dict[str, tuple[str, str]]
    listed: list[str] = field(default_factory=list)

    def find(self, path: str) -> Node | None:
        if path in self.files:
            return self._node(path)
        if any(other.startswith(f"{path}/") for other in self.files):
            return self._node(path)
        return None

    def children(self, folder: Node, max_entries: int) -> list[Node] | None:
        self.listed.append(folder.path)
        prefix = f"{folder.path}/"
        names = {
            path.removeprefix(prefix).partition("/")[0]
            for path in self.files
            if path.startswith(prefix)
        }
        if len(names) > max_entries:
            return None
        return [self._node(prefix + name) for name in sorted(names)]

    def _node(self, path: str) -> Node:
        if path in self.files:
            mode, blob = self.files[path]
            return Node(path, KINDS.get(mode, "file"), blob)  # type: ignore[arg-type]
        below = sorted(item for item in self.files.items() if item[0].startswith(f"{path}/"))
        return Node(path, "folder", hashlib.sha1(repr(below).encode()).hexdigest())
