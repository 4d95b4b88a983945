"""I1, I3: a record that cannot be understood holds its task, and nothing else."""

from __future__ import annotations

import pytest

from guildnet.record import Kind, StatusFile, StoredFile
from guildnet_reconciler.records.org_records import OrgRecords


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b"{", b"[]", b"7", b'{"org": "acme", "task": "fix", "run": "1"}', None],
)
def test_its_task_counts_as_unreadable(content: bytes | None) -> None:
    records = OrgRecords()
    records.take(_stored(StatusFile(Kind.TASK, "acme", "fix"), content))
    records.take(_stored(StatusFile(Kind.ORG, "acme"), content))
    assert records.unreadable == {"fix"}
    assert records.recorded == {}
    assert records.get("fix") is None


def _stored(file: StatusFile, content: bytes | None) -> StoredFile:
    return StoredFile(file, "b" * 40, len(content or b""), content)
