"""The problems of an org's Talos patches in a work tree."""

from __future__ import annotations

from collections.abc import Iterator

from guildnet.errors import InvalidResource, Problem
from guildnet.resources import Org
from guildnet.talos.files import WorkTreeFiles, read_patches
from guildnet.talos.patches import patch_problems
from guildnet.talos.spec import TalosSpec, patch_folder, talos_of
from guildnet.work_tree import WorkTree

MAX_ENTRIES = 512
"""Entries of orgs/<org>/talos/ that are looked at: twice the patches that an org may list."""


def talos_problems(tree: WorkTree, org: Org) -> Iterator[Problem]:
    """The problems of the patches that the org lists, and of the other files beside them."""
    spec = talos_of(org)
    if spec is None:
        return
    files = WorkTreeFiles(tree.root)
    try:
        read_patches(spec, files)
    except InvalidResource as error:
        yield from error.problems
    for path in _unlisted(tree, spec):
        yield Problem(path, 0, f"has no effect: orgs/{org.name}.yaml lists no such patch")
        # Above all a bundle of secrets that was left here by mistake.
        content = files.read(path) or b""
        yield from patch_problems(content, path, spec.version)


def _unlisted(tree: WorkTree, spec: TalosSpec) -> Iterator[str]:
    folder = patch_folder(spec.org)
    if tree.kind(folder) != "folder":
        return
    listed = {patch.path for patch in spec.patches}
    for name, kind in tree.entries(folder, MAX_ENTRIES) or ():
        path = f"{folder}/{name}"
        if kind == "file" and name.endswith((".yaml", ".yml")) and path not in listed:
            yield path
