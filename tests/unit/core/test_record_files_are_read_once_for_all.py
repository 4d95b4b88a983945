"""Paths of the status branch: the files that they name, and which of them are records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from guildnet.digest import readable_json
from guildnet.record import (
    MAX_RECORD_BYTES,
    InvalidRecord,
    Kind,
    OrgRecord,
    Removed,
    StatusFile,
    TaskRecord,
    artifact_path,
    org_record_path,
    parse_status_path,
    records_at,
    removed_path,
    task_record_path,
)

TASK = TaskRecord(org="acme", task="fix", run=1, digest="sha256:a")
REMOVED = Removed("acme", "old", 2, "sha256:b", "TaskFailed")
ORG = OrgRecord("acme", attempted="c")


class Repository:
    """One commit, held in memory: path to content."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.batches: list[list[str]] = []

    def index(self, commit: str, prefixes: Sequence[str] = ()) -> dict[str, str]:
        under = tuple(f"{prefix}/" for prefix in prefixes)
        return {path: path for path in self.files if path.startswith(under)}

    def read_blobs(
        self, ids: Iterable[str], *, max_bytes: int
    ) -> Iterator[tuple[str, int, bytes | None]]:
        self.batches.append(list(ids))
        for path in self.batches[-1]:
            content = self.files[path]
            yield path, len(content), content if len(content) <= max_bytes else None


@pytest.mark.parametrize(
    ("path", "file"),
    [
        (org_record_path("acme"), StatusFile(Kind.ORG, "acme")),
        (task_record_path("acme", "fix"), StatusFile(Kind.TASK, "acme", "fix")),
        (removed_path("acme", "fix"), StatusFile(Kind.REMOVED, "acme", "fix")),
        (
            artifact_path("acme", "fix", "usage.json"),
            StatusFile(Kind.ARTIFACT, "acme", "fix", "usage.json"),
        ),
    ],
)
def test_a_path_is_parsed_to_what_it_was_made_from(path: str, file: StatusFile) -> None:
    assert parse_status_path(path) == file


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "orgs",
        "orgs/acme",
        "orgs/Acme/org.json",
        "orgs/../org.json",
        "orgs/acme/org.json/x",
        "orgs/acme/tasks/fix",
        "orgs/acme/tasks/fix/status.json/x",
        "orgs/acme/tasks/.git/status.json",
        "orgs/acme/tasks/fix/artifacts/..",
        "orgs/acme/tasks/fix/artifacts/a/b.json",
        "orgs/acme/tasks/fix/artifacts/a\nb.json",
        "orgs/acme/removed/fix",
        "orgs/acme/removed/a b.json",
        "tasks/acme/fix.yaml",
        "",
    ],
)
def test_any_other_path_stands_for_nothing(path: str) -> None:
    assert parse_status_path(path) is None


def test_records_are_read_in_one_batch_and_artifacts_are_left_out() -> None:
    repository = Repository(
        {
            org_record_path("acme"): readable_json(ORG.to_json()),
            task_record_path("acme", "fix"): readable_json(TASK.to_json()),
            removed_path("acme", "old"): readable_json(REMOVED.to_json()),
            artifact_path("acme", "fix", "usage.json"): b"{}",
            "orgs/acme/notes.txt": b"",
            org_record_path("globex"): readable_json(OrgRecord("globex").to_json()),
        }
    )
    assert [stored.record() for stored in records_at(repository, "c", "acme")] == [
        ORG,
        REMOVED,
        TASK,
    ]
    assert len(repository.batches) == 1
    assert len(list(records_at(repository, "c"))) == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a record"),
        (b"[]", "not a record"),
        (b"[" * 100_000, "not a record"),
        (b'{"org": "acme", "task": "fix", "run": "1", "digest": "d"}', "not a record"),
        (readable_json({**TASK.to_json(), "task": "other"}), "a record of 'acme/other'"),
        (b" " * (MAX_RECORD_BYTES + 1), "1,048,577 bytes; the limit is 1,048,576"),
    ],
)
def test_a_file_that_is_not_the_record_of_its_path_is_refused(content: bytes, reason: str) -> None:
    """A record under another task's path would otherwise count for that task."""
    (stored,) = records_at(Repository({task_record_path("acme", "fix"): content}), "c")
    with pytest.raises(InvalidRecord, match=reason):
        stored.record()
