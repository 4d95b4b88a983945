"""I5: the history of one path is found without reading what every other commit changed."""

from __future__ import annotations

from pathlib import Path

from tests.functional.dashboard.state_repository import StateRepository

from guildnet.git import Mirror


def test_an_index_of_history_changes_no_answer_and_grows_with_it(tmp_path: Path) -> None:
    remote = StateRepository(tmp_path / "state.git")
    first = remote.commit("status", {"orgs/a/x.json": "1", "orgs/b/y.json": "1"})
    remote.commit("status", {"orgs/b/y.json": "2"})
    with Mirror.open(str(remote.path), tmp_path / "mirror") as mirror:
        mirror.fetch(["status"])
        mirror.index_history()
        graphs = tmp_path / "mirror" / "objects" / "info" / "commit-graphs"
        assert list(graphs.glob("*.graph"))
        tip = remote.commit("status", {"orgs/a/x.json": "2"})
        mirror.fetch(["status"])
        for _ in range(2):
            found = mirror.log("status", ("orgs/a/x.json",), limit=10)
            assert [info.sha for info in found] == [tip, first]
            mirror.index_history()


def test_an_index_that_a_crash_left_locked_is_written_again(tmp_path: Path) -> None:
    remote = StateRepository(tmp_path / "state.git")
    remote.commit("status", {"orgs/a/x.json": "1"})
    graphs = tmp_path / "mirror" / "objects" / "info" / "commit-graphs"
    with Mirror.open(str(remote.path), tmp_path / "mirror") as mirror:
        mirror.fetch(["status"])
        mirror.index_history()
    (graphs / "commit-graph-chain.lock").touch()
    with Mirror.open(str(remote.path), tmp_path / "mirror") as mirror:
        remote.commit("status", {"orgs/a/x.json": "2"})
        mirror.fetch(["status"])
        mirror.index_history()


def test_what_many_commits_changed_is_read_at_once(tmp_path: Path) -> None:
    """The same as each by itself, the first one and folders left out among them."""
    remote = StateRepository(tmp_path / "state.git")
    first = remote.commit("status", {"orgs/a/x.json": "1", "README.md": "hello"})
    second = remote.commit("status", {"README.md": "hello again"})
    third = remote.commit("status", {"orgs/a/x.json": None, "orgs/:b/y é.json": "1"})
    with Mirror.open(str(remote.path), tmp_path / "mirror") as mirror:
        mirror.fetch(["status"])
        found = mirror.changes_of([third, second, first], ("orgs",))
        assert [found[second], found[third]] == [
            mirror.diff(first, second, ("orgs",)),
            mirror.diff(second, third, ("orgs",)),
        ]
        assert [(change.path, change.status) for change in found[first]] == [("orgs/a/x.json", "A")]
        assert [(change.path, change.status) for change in found[third]] == [
            ("orgs/:b/y é.json", "A"),
            ("orgs/a/x.json", "D"),
        ]
        assert mirror.changes_of([]) == {}
