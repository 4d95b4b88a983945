"""Reading untrusted files: regular files only, no links, bounded (I9)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from guildnet.agent_api.state import StartId
from guildnet_agent.exchange import (
    ExchangeRefused,
    copy_regular,
    list_names,
    read_regular,
    write_atomic,
)
from guildnet_agent.supervisor.journal import Journal


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b", b"12345")
    assert read_regular(tmp_path, "a/b", 5) == b"12345"
    assert read_regular(tmp_path, "a/none", 5) is None
    assert read_regular(tmp_path, "none/b", 5) is None
    with pytest.raises(ExchangeRefused, match="larger than 4"):
        read_regular(tmp_path, "a/b", 4)
    assert not copy_regular(tmp_path, "a/none", tmp_path / "copy", 5)
    with pytest.raises(ExchangeRefused, match="larger"):
        copy_regular(tmp_path, "a/b", tmp_path / "copy", 4)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("relative", ["link", "folder-link/secret", "pipe", "folder"])
def test_other_kinds_of_files_are_refused_at_every_level(tmp_path: Path, relative: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "link").symlink_to(outside / "secret")
    (root / "folder-link").symlink_to(outside)
    os.mkfifo(root / "pipe")
    with pytest.raises(ExchangeRefused):
        read_regular(root, relative, 100)
    with pytest.raises(ExchangeRefused):
        copy_regular(root, relative, tmp_path / "copy", 100)
    assert list_names(root, "folder-link", 10) == []


@pytest.mark.parametrize("relative", ["../outside", "a/../../outside", "/etc/hostname"])
def test_a_path_cannot_leave_the_root(tmp_path: Path, relative: str) -> None:
    with pytest.raises(ExchangeRefused):
        read_regular(tmp_path, relative, 100)


def test_a_journal_survives_an_incomplete_last_line(tmp_path: Path) -> None:
    """I6: complete entries count; an entry that a crash cut off is ignored."""
    journal = Journal(tmp_path / "journal")
    start = StartId(1, 1, 1)
    assert journal.read() == []
    journal.begin(start, {"spec": {}})
    journal.append("running", start, {"at": "now"})
    with open(tmp_path / "journal", "ab") as file:
        file.write(b'{"event": "ended", "da')
    assert [entry.event for entry in journal.read()] == ["begun", "running"]
    journal.append("ended", start, {"x": 1})
    assert [entry.event for entry in journal.read()] == ["begun", "running", "ended"]
    assert all(json.loads(line) for line in (tmp_path / "journal").read_bytes().splitlines())
    journal.begin(StartId(1, 1, 2), {"spec": {}})
    assert len(journal.read()) == 1
