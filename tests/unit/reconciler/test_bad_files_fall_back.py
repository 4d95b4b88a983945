"""Loading: a bad file is quarantined alone, and its last good blob stays in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from guildnet.resources import task_path
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.load import load_tasks

GOOD = b"""\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {name: fix}
spec: {prompt: do it}
"""
BLOBS = {
    "good": GOOD,
    "bad": b"a: 1\na: 2\n",
    "lfs": b"version https://git-lfs.github.com/spec/v1\n",
}


def read(ids: Iterable[str]) -> Iterator[tuple[str, int, bytes | None]]:
    for name in ids:
        content = BLOBS.get(name)
        yield name, len(content) if content else 10_000_000, content


def test_bad_links_large_and_lfs_files_are_quarantined() -> None:
    """I1, I9, I10: each with its path, line and reason; the others are loaded."""
    files = {
        "fix": SourceFile(task_path("acme", "fix"), "good"),
        "bad": SourceFile(task_path("acme", "bad"), "bad"),
        "lfs": SourceFile(task_path("acme", "lfs"), "lfs"),
        "huge": SourceFile(task_path("acme", "huge"), "huge"),
        "link": SourceFile(task_path("acme", "link"), "good", "a symlink"),
    }
    loaded = load_tasks(files, lambda _bad: {}, "r", read)
    assert set(loaded.tasks) == {"fix"}
    reported = {name: bad.problems[0] for name, bad in loaded.quarantined.items()}
    assert reported["bad"].line == 2
    assert "LFS" in reported["lfs"].message
    assert "10,000,000 bytes" in reported["huge"].message
    assert "symlink" in reported["link"].message


def test_the_last_good_blob_stays_in_force() -> None:
    """I1: the task is still there, made from the blob that was good."""
    files = {"fix": SourceFile(task_path("acme", "fix"), "bad")}
    loaded = load_tasks(files, lambda bad: dict.fromkeys(bad, "good"), "r", read)
    assert loaded.tasks["fix"].source.blob == "good"
    assert loaded.quarantined["fix"].last_good == "good"
