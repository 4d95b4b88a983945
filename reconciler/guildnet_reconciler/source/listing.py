"""What orgs/ and tasks/ of a source tree hold, read folder by folder and never deeper.

A commit of a few hundred bytes can name millions of paths. So each folder is listed by itself, one
level deep and with a bound on its entries: orgs/, tasks/, and of each org orgs/<org>/ and
tasks/<org>/. A folder beyond its bound is a problem of its org alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from guildnet.names import is_name

TOPS = ("orgs", "tasks")
MAX_ORGS = 2_000
"""Orgs that are followed: twice what is supported."""
MAX_TOP_ENTRIES = 100_000
"""Entries of orgs/ and of tasks/ that are read to choose those orgs."""
MAX_ORG_ENTRIES = 12_000
"""Entries of one org's folder: the supported 10,000 tasks and a margin."""


@dataclass(frozen=True, slots=True)
class Node:
    """One entry of a source tree: its path from the root and its object id ("" outside of git)."""

    path: str
    kind: Literal["file", "folder", "symlink", "submodule"]
    id: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class TreeReader(Protocol):
    """Reads one revision of a source tree."""

    def find(self, path: str) -> Node | None:
        """What is at the path; None when nothing is."""
        ...

    def children(self, folder: Node, max_entries: int) -> list[Node] | None:
        """The entries of a folder; None for more than `max_entries`."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder's entries without hidden ones; None where they cannot be used. `problem` says why,
    or how many of them are ignored."""

    id: str = ""
    entries: tuple[Node, ...] | None = ()
    problem: str = ""


def list_changed(
    tree: TreeReader, seen: Mapping[str, str], known: Collection[str]
) -> dict[str, Folder]:
    """The folders whose id differs from the one that was `seen`, by path.

    Where there are more orgs than are followed, those that are `known` come before others.
    """
    nodes = {top: tree.find(top) for top in TOPS}
    if all(node and node.id and node.id == seen.get(top) for top, node in nodes.items()):
        return {}
    tops = {top: _listed(tree, node, MAX_TOP_ENTRIES) for top, node in nodes.items()}
    followed = _followed(tops, known)
    changed: dict[str, Folder] = {}
    for top, folder in tops.items():
        entries = folder.entries
        if entries is None or followed is None:
            changed[top] = folder
            continue
        kept = tuple(node for node in entries if owner_of(node.path) in followed)
        ignored = len(entries) - len(kept)
        problem = f"{ignored:,} entries ignored: more than {MAX_ORGS:,} orgs" if ignored else ""
        changed[top] = Folder(folder.id, kept, problem)
    for folder in tuple(changed.values()):
        for node in folder.entries or ():
            if is_folder_of_an_org(node) and not (node.id and node.id == seen.get(node.path)):
                changed[node.path] = _listed(tree, node, MAX_ORG_ENTRIES)
    return changed


def owner_of(path: str) -> str:
    """The org that a path under orgs/ or tasks/ belongs to, by its name alone."""
    return path.split("/", 2)[1].split(".", 1)[0] if "/" in path else ""


def is_folder_of_an_org(node: Node) -> bool:
    """Whether a node is `orgs/<org>/` or `tasks/<org>/`."""
    return node.kind == "folder" and node.path.count("/") == 1 and is_name(node.name)


def _listed(tree: TreeReader, node: Node | None, limit: int) -> Folder:
    if node is None:
        return Folder()
    if node.kind != "folder":
        return Folder(node.id, None, f"a {node.kind} in place of a folder")
    children = tree.children(node, limit)
    if children is None or len(children) > limit:
        return Folder(node.id, None, f"more than {limit:,} entries")
    return Folder(node.id, tuple(child for child in children if not child.name.startswith(".")))


def _followed(tops: Mapping[str, Folder], known: Collection[str]) -> set[str] | None:
    """The names that are followed where there are too many; None where all are."""
    names = [{owner_of(node.path) for node in top.entries or ()} for top in tops.values()]
    every = set[str]().union(*names)
    if len(every) <= MAX_ORGS:
        return None
    complete = names[0].intersection(*names[1:])
    order = sorted(every, key=lambda name: (name not in known, name not in complete, name))
    return set(order[:MAX_ORGS])
