"""The index: moved on by diffs, it is what a full listing gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guildnet.git import Change, TreeEntry
from guildnet_reconciler.steps.diff import SourceIndex

PATHS = st.sampled_from(
    [
        "orgs/acme.yaml",
        "orgs/globex.yaml",
        "orgs/Bad Name.yaml",
        "tasks/acme/a.yaml",
        "tasks/acme/b.yaml",
        "tasks/globex/a.yaml",
        "tasks/acme/deep/c.yaml",
        "tasks/acme/notes.txt",
        "README.md",
    ]
)
MODES = st.sampled_from(["100644", "100755", "120000", "160000"])
TREES = st.dictionaries(PATHS, st.tuples(MODES, st.sampled_from("abc")), max_size=8)
Tree = dict[str, tuple[str, str]]


def listed(revision: str, tree: Tree) -> SourceIndex:
    return SourceIndex.of(revision, [TreeEntry(p, mode, blob) for p, (mode, blob) in tree.items()])


@given(TREES, TREES)
def test_advancing_is_listing_anew(old: Tree, new: Tree) -> None:
    """I5: whatever changes, the diff alone leads to the same index; and it names each org that
    has changed, and no other."""
    index = listed("1", old)
    changes = [
        Change(path, "D", "000000", "") if path not in new else Change(path, "M", *new[path])
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
    told = index.advance("2", changes)
    assert index == listed("2", new)
    before, after = listed("1", old), listed("1", new)
    for org in before.known_orgs() | after.known_orgs():
        differs = before.orgs.get(org) != after.orgs.get(org) or before.files_of(
            org
        ) != after.files_of(org)
        assert org in told or not differs
    assert {
        path.split("/")[1].removesuffix(".yaml")
        for path in (c.path for c in changes)
        if "/" in path
    } >= told.keys()


def test_links_and_misplaced_files_are_told() -> None:
    """I9: neither followed nor silently dropped."""
    index = listed("1", {"tasks/acme/a.yaml": ("120000", "a"), "tasks/acme/x/y.yaml": ("1", "b")})
    problem = index.files_of("acme")["a"].problem
    assert problem is not None
    assert "symlink" in problem
    assert list(index.misplaced) == ["tasks/acme/x/y.yaml"]
