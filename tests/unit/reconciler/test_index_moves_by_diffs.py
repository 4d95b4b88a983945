"""The index: moved on by the folders that changed, it is what a full listing gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.reconciler.source_trees import MemoryTree

from guildnet_reconciler.source import listing
from guildnet_reconciler.source.index import OrgChange, SourceIndex

PATHS = st.sampled_from(
    [
        "orgs/acme.yaml",
        "orgs/globex.yaml",
        "orgs/Bad Name.yaml",
        "orgs/acme.yml",
        "orgs/acme/talos/patch.yaml",
        "orgs/acme/lost.yaml",
        "orgs/README.md",
        "orgs/.keep",
        "tasks/acme/a.yaml",
        "tasks/acme/b.yaml",
        "tasks/globex/a.yaml",
        "tasks/acme/deep/c.yaml",
        "tasks/acme/notes.txt",
        "tasks/acme/.keep",
        "tasks/README.md",
        "tasks/Bad/a.yaml",
        "README.md",
    ]
)
MODES = st.sampled_from(["100644", "100755", "120000", "160000"])
TREES = st.dictionaries(PATHS, st.tuples(MODES, st.sampled_from("abc")), max_size=9)
Tree = dict[str, tuple[str, str]]


def listed(revision: str, tree: Tree) -> SourceIndex:
    return SourceIndex.of(revision, MemoryTree(tree))


def tree_of(*paths: str) -> Tree:
    return dict.fromkeys(paths, ("100644", "a"))


def reported(index: SourceIndex) -> dict[str, list[str]]:
    """The misplaced paths by org; "" for those of no org."""
    reported = {org: [p.path for p in index.problems_of(org)] for org in index.known_orgs()}
    reported[""] = [p.path for p in index.problems_of_no_org()]
    return {org: paths for org, paths in reported.items() if paths}


@given(TREES, TREES, TREES)
def test_advancing_is_listing_anew(old: Tree, between: Tree, new: Tree) -> None:
    """I5: whatever changes, the folders that differ lead to the same index, and the change names
    each org that differs."""
    index = listed("0", between)
    index.advance("1", index.changed_in(MemoryTree(old)))
    assert index == listed("1", old)
    changes = index.advance("2", index.changed_in(MemoryTree(new)))
    assert index == listed("2", new)
    before, after = listed("1", old), listed("2", new)
    for org in before.known_orgs() | after.known_orgs():
        is_same = (
            before.orgs.get(org) == after.orgs.get(org)
            and before.files_of(org) == after.files_of(org)
            and (org not in after.known_orgs() or before.problems_of(org) == after.problems_of(org))
        )
        assert org in changes or is_same
    assert changes.keys() <= before.known_orgs() | after.known_orgs()


def test_only_changed_folders_are_listed_and_none_below_an_orgs() -> None:
    """I5, I9: depth costs nothing, and neither do orgs that stay as they were."""
    old = tree_of("tasks/acme/a.yaml", "tasks/globex/a.yaml", "orgs/acme/talos/x/y.yaml")
    index = listed("1", old)
    assert not MemoryTree(old).listed
    same = MemoryTree(old)
    assert index.changed_in(same) == {}
    assert same.listed == []
    new = MemoryTree({**old, **tree_of("tasks/acme/bomb/b/c/d.yaml")})
    changes = index.advance("2", index.changed_in(new))
    assert changes == {"acme": OrgChange()}
    assert sorted(new.listed) == ["orgs", "tasks", "tasks/acme"]
    assert reported(index) == {"acme": ["tasks/acme/bomb"]}


def test_links_and_misplaced_files_are_reported_to_their_org() -> None:
    """I9, I10: reported in the record of its org only, and never followed."""
    tree = {
        **tree_of("tasks/acme/x/y.yaml", "tasks/acme/READ ME.md", "tasks/globex/b.yaml"),
        **tree_of("orgs/acme/lost.yaml", "orgs/globex.yml", "orgs/other.yml", "tasks/nobody.txt"),
        "tasks/acme/a.yaml": ("120000", "a"),
        "tasks/acme/c.yaml/d": ("100644", "a"),
    }
    index = listed("1", tree)
    assert "symlink" in str(index.files_of("acme")["a"].problem)
    assert "folder" in str(index.files_of("acme")["c"].problem)
    assert reported(index) == {
        "acme": ["orgs/acme/lost.yaml", "tasks/acme/READ ME.md", "tasks/acme/x"],
        "globex": ["orgs/globex.yml"],
        "": ["orgs/other.yml", "tasks/nobody.txt"],
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_ORG_ENTRIES", 3)
    monkeypatch.setattr(listing, "MAX_ORGS", 2)
    monkeypatch.setattr(listing, "MAX_TOP_ENTRIES", 6)


@pytest.mark.usefixtures("small")
def test_an_org_with_too_many_entries_keeps_its_tasks() -> None:
    """I1, I3, I9."""
    good = tree_of("tasks/acme/a.yaml", "tasks/globex/a.yaml")
    wide = tree_of(*(f"tasks/acme/t{n}.yaml" for n in range(4)), "tasks/globex/b.yaml")
    index = listed("1", good)
    changes = index.advance("2", index.changed_in(MemoryTree(wide)))
    assert changes == {"acme": OrgChange(), "globex": OrgChange(tasks=frozenset("ab"))}
    assert index.files_of("acme").keys() == {"a"}
    assert "more than 3 entries" in index.unlisted["acme"].message
    assert index.unlisted["acme"].path == "tasks/acme"
    assert listed("2", wide).unlisted == index.unlisted
    changes = index.advance("3", index.changed_in(MemoryTree(good)))
    assert changes["acme"] == OrgChange()
    assert index == listed("3", good)


@pytest.mark.parametrize("mode", ["120000", "160000", "100644"])
@pytest.mark.parametrize("path", ["tasks/acme", "tasks"])
def test_what_is_not_a_folder_any_more_deletes_nothing(path: str, mode: str) -> None:
    """I1: and the tasks are followed again as soon as the folder is back."""
    good = tree_of("orgs/acme.yaml", "tasks/acme/a.yaml", "tasks/acme/b.yaml")
    index = listed("1", good)
    bad = {**tree_of("orgs/acme.yaml"), path: (mode, "x")}
    assert "acme" in index.advance("2", index.changed_in(MemoryTree(bad)))
    assert index.files_of("acme").keys() == {"a", "b"}
    assert "in place of a folder" in index.unlisted["acme"].message
    index.advance("3", index.changed_in(MemoryTree(good)))
    assert index == listed("3", good)


def test_a_folder_that_is_gone_deletes_its_tasks() -> None:
    index = listed("1", tree_of("tasks/acme/a.yaml", "tasks/globex/a.yaml"))
    changes = index.advance("2", index.changed_in(MemoryTree(tree_of("tasks/globex/a.yaml"))))
    assert changes == {"acme": OrgChange(tasks=frozenset("a"))}
    assert index.known_orgs() == {"globex"}


def test_orgs_that_is_not_a_folder_leaves_each_file_as_a_bad_one() -> None:
    """I1: a bad org file has a last good version; a missing one has a vanished org."""
    index = listed("1", tree_of("orgs/acme.yaml", "tasks/acme/a.yaml"))
    bad: Tree = {**tree_of("tasks/acme/a.yaml"), "orgs": ("120000", "x")}
    assert index.advance("2", index.changed_in(MemoryTree(bad)))["acme"].org_file
    assert "symlink" in str(index.orgs["acme"].problem)


@pytest.mark.usefixtures("small")
def test_more_orgs_than_are_followed_do_not_displace_known_ones() -> None:
    """I3: thousands of added folders delay no known org."""
    index = listed("1", tree_of("orgs/zeta.yaml", "tasks/zeta/a.yaml"))
    many = [*(f"tasks/a{n}/x.yaml" for n in range(4)), "orgs/zeta.yaml", "tasks/zeta/b.yaml"]
    for tree in (index, SourceIndex()):
        tree.advance("2", tree.changed_in(MemoryTree(tree_of(*many))))
        assert tree.known_orgs() == {"a0", "zeta"}
        assert "more than 2 orgs" in str(tree.problems_of_no_org())
    assert index.files_of("zeta").keys() == {"b"}


@pytest.mark.usefixtures("small")
def test_far_more_orgs_leave_known_ones_as_they_were() -> None:
    index = listed("1", tree_of("orgs/zeta.yaml", "tasks/zeta/a.yaml"))
    many = [*(f"tasks/a{n}/x.yaml" for n in range(9)), "orgs/zeta.yaml", "tasks/zeta/b.yaml"]
    index.advance("2", index.changed_in(MemoryTree(tree_of(*many))))
    assert index.files_of("zeta").keys() == {"a"}
    assert "more than 6 entries" in index.unlisted["zeta"].message
