"""I1, I3: a record that cannot be understood holds its task, and nothing else."""

from __future__ import annotations

import pytest

from guildnet_reconciler.records.org_records import OrgRecords


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b"{", b"[]", b"7", b'{"org": "acme", "task": "fix", "run": "1"}', None],
)
def test_it_is_told_as_unreadable(content: bytes | None) -> None:
    records = OrgRecords()
    records.take(("tasks", "fix", "status.json"), content)
    records.take(("org.json",), content)
    assert records.unreadable == {"fix"}
    assert records.known == {}
    assert records.get("fix") is None
