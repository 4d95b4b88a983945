"""Real processes: recorded with their start time, ended by it, and found again by their mark."""

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
#: Starts a child of its own, as containerd starts its shims, and ends.
FORKING = [
    sys.executable,
    "-c",
    "import subprocess as s, sys;"
    " s.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)",
]


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """A cluster's folders; whatever was started in them is ended."""
    layout = Layout("t-processes", tmp_path / "t-processes")
    yield layout
    processes.stop([*processes.recorded(layout), *processes.strays(layout)], timedelta())


def test_a_started_process_is_recorded_and_ends(layout: Layout) -> None:
    """What was begun can be ended by whoever reads the record."""
    started = processes.start(layout, "sleeper", SLEEP)
    assert started.is_alive
    assert processes.recorded(layout) == [started]
    processes.stop(processes.recorded(layout), timedelta(seconds=5))
    assert not started.is_alive
    processes.forget(layout)
    assert processes.recorded(layout) == []


def test_one_that_ignores_sigterm_is_killed(layout: Layout) -> None:
    """`down` ends within its deadline, whatever a program thinks of it."""
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"
    started = processes.start(
        layout, "stubborn", [sys.executable, "-c", f"{stubborn}; time.sleep(600)"]
    )
    log = layout.logs / "stubborn.log"
    processes.wait_for(
        "output", lambda: "up" in log.read_text(), layout, [started], timedelta(seconds=10)
    )
    began = time.monotonic()
    processes.stop([started], timedelta(seconds=0.2))
    assert not started.is_alive
    assert time.monotonic() - began < 5


def test_an_id_used_anew_is_not_ours(layout: Layout) -> None:
    """I2: after a crash or a reboot the same id may be anybody's; it is left alone."""
    somebody = Process("etcd", os.getpid(), "another boot 12345")
    layout.processes.mkdir(parents=True)
    record = {"name": "etcd", "pid": os.getpid(), "started": "another boot 12345"}
    (layout.processes / "etcd.json").write_text(json.dumps(record))
    assert processes.recorded(layout) == [somebody]
    assert not somebody.is_alive
    processes.stop([somebody], timedelta())


def test_a_torn_record_is_passed_over(layout: Layout) -> None:
    """A crash in the middle of a write must not keep `up` from cleaning the rest."""
    layout.processes.mkdir(parents=True)
    (layout.processes / "etcd.json").write_text('{"name": "et')
    assert processes.recorded(layout) == []


@pytest.mark.skipif(sys.platform != "linux", reason="marks are read from /proc, which is Linux's")
def test_children_of_a_dead_program_are_found_by_their_mark(layout: Layout) -> None:
    """containerd's shims outlive it by design; `down` still finds each of them."""
    parent = processes.start(layout, "forking", FORKING)
    deadline = time.monotonic() + 10
    while parent.is_alive and time.monotonic() < deadline:
        time.sleep(0.02)
    strays = processes.strays(layout)
    assert len(strays) == 1
    processes.stop(strays, timedelta(seconds=2))
    assert processes.strays(layout) == []


def test_waiting_names_the_program_that_died_and_what_it_said(layout: Layout) -> None:
    """I10: cause, place and cure, and at once rather than at the deadline."""
    words = "import sys; sys.exit('no such disk')"
    started = processes.start(layout, "etcd", [sys.executable, "-c", words])
    began = time.monotonic()
    with pytest.raises(GuildNetError, match="no such disk") as failure:
        processes.wait_for("answer", lambda: False, layout, [started], timedelta(seconds=60))
    assert time.monotonic() - began < 20
    assert failure.value.place == "devcluster t-processes"
    assert str(layout.logs / "etcd.log") in str(failure.value.cure)


def test_waiting_has_a_deadline(layout: Layout) -> None:
    """I10: a program that hangs is named too."""
    started = processes.start(layout, "sleeper", SLEEP)
    with pytest.raises(GuildNetError, match="no answer within 0 s"):
        processes.wait_for("answer", lambda: False, layout, [started], timedelta(seconds=0.3))
