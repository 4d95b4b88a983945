"""Real processes: recorded with their start time, stopped by it, and found by their mark."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from guildnet.errors import GuildNetError
from guildnet_devcluster import processes
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.processes import Process

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
#: Starts a child process, as containerd starts its shims, and exits.
FORKING = [
    sys.executable,
    "-c",
    "import subprocess as s, sys;"
    " s.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)",
]


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """A cluster's layout; its processes are stopped after the test."""
    layout = Layout("t-processes", tmp_path / "t-processes")
    yield layout
    processes.stop([*processes.recorded(layout), *processes.strays(layout)], timedelta())


def test_a_recorded_process_is_stopped(layout: Layout) -> None:
    """A recorded process can be stopped by another command."""
    started = processes.start(layout, "sleeper", SLEEP)
    assert started.is_alive
    assert processes.recorded(layout) == [started]
    processes.stop(processes.recorded(layout), timedelta(seconds=5))
    assert not started.is_alive
    processes.forget(layout)
    assert processes.recorded(layout) == []


def test_a_process_that_ignores_sigterm_is_killed(layout: Layout) -> None:
    """`down` finishes in time even if a program ignores SIGTERM."""
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"
    started = processes.start(
        layout, "stubborn", [sys.executable, "-c", f"{stubborn}; time.sleep(600)"]
    )
    log = layout.logs / "stubborn.log"
    processes.wait_for(
        "output", lambda: "up" in log.read_text(), layout, [started], timedelta(seconds=10)
    )
    started_at = time.monotonic()
    processes.stop([started], timedelta(seconds=0.2))
    assert not started.is_alive
    assert time.monotonic() - started_at < 5


def test_a_reused_process_id_is_not_ours(layout: Layout) -> None:
    """I2: after a crash or a reboot the id may belong to another process."""
    other = Process("etcd", os.getpid(), "another boot 12345")
    layout.processes.mkdir(parents=True)
    record = {"name": "etcd", "pid": os.getpid(), "started": "another boot 12345"}
    (layout.processes / "etcd.json").write_text(json.dumps(record))
    assert processes.recorded(layout) == [other]
    assert not other.is_alive
    processes.stop([other], timedelta())


def test_a_truncated_record_is_ignored(layout: Layout) -> None:
    """A crash during a write must not prevent `up` from cleaning up."""
    layout.processes.mkdir(parents=True)
    (layout.processes / "etcd.json").write_text('{"name": "et')
    assert processes.recorded(layout) == []


@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc")
def test_orphaned_children_are_found_by_their_mark(layout: Layout) -> None:
    """containerd's shims outlive it by design; `down` must still find them."""
    parent = processes.start(layout, "forking", FORKING)
    deadline = time.monotonic() + 10
    while parent.is_alive and time.monotonic() < deadline:
        time.sleep(0.02)
    strays = processes.strays(layout)
    assert len(strays) == 1
    processes.stop(strays, timedelta(seconds=2))
    assert processes.strays(layout) == []


def test_waiting_fails_when_the_program_exits(layout: Layout) -> None:
    """I10: the error names cause, cluster and log, without waiting for the timeout."""
    program = "import sys; sys.exit('no such disk')"
    started = processes.start(layout, "etcd", [sys.executable, "-c", program])
    started_at = time.monotonic()
    with pytest.raises(GuildNetError, match="no such disk") as failure:
        processes.wait_for("answer", lambda: False, layout, [started], timedelta(seconds=60))
    assert time.monotonic() - started_at < 20
    assert failure.value.place == "devcluster t-processes"
    assert str(layout.logs / "etcd.log") in str(failure.value.cure)


def test_waiting_times_out(layout: Layout) -> None:
    """I10: a hanging program is reported too."""
    started = processes.start(layout, "sleeper", SLEEP)
    with pytest.raises(GuildNetError, match="no answer within 0 s"):
        processes.wait_for("answer", lambda: False, layout, [started], timedelta(seconds=0.3))
