"""I3, I9: expensive files are validated in processes that can be ended, with the same verdicts. A
process that ends or hangs costs only the org whose file it was validating."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

import pytest

from guildnet.loading import load_task
from guildnet.resources import Source, task_path
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.load import load_tasks
from guildnet_reconciler.validation import pool as pool_module
from guildnet_reconciler.validation.limits import Limits
from guildnet_reconciler.validation.pool import SMALL_BYTES, WorkerPool
from guildnet_reconciler.validation.verdict import validate_here

File = tuple[Source, bytes]
# The worker looks these up by name; they stand for a defect in a parser.
HANGS: Any = partial(max, key=partial(re.match, rb"(?s)(.+.+)+y\Z"))
DEVOURS_MEMORY: Any = partial(max, key=partial(mul, 10**7))
FAILS: Any = partial(max, key=int)


def large(name: str, org: str = "acme", more: str = "") -> File:
    text = (
        "apiVersion: guildnet.io/v1alpha1\nkind: Task\n"
        f"metadata: {{name: {name}}}\nspec: {{prompt: do it}}\n{more}"
    )
    return Source(task_path(org, name), "b" * 40, "r"), text.encode() + b"# " + b"x" * SMALL_BYTES


GOOD = large("fix")
BAD = large("bad", more="spec: {}\n")
EXPENSIVE = large("costly", more="  context: [" + "{}," * 4_900 + "]\n")


@pytest.fixture
def open_pool() -> Iterator[Callable[[Limits], WorkerPool]]:
    """Opens pools, which leave no process behind."""
    pools: list[WorkerPool] = []

    def opened(limits: Limits) -> WorkerPool:
        pools.append(WorkerPool(limits))
        return pools[-1]

    yield opened
    for pool in pools:
        pids = pool.pids
        pool.close()
        assert not [pid for pid in pids if is_running(pid)]


@pytest.fixture
def pool(open_pool: Callable[[Limits], WorkerPool]) -> WorkerPool:
    return open_pool(Limits())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as opened:
        yield opened


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(holds: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_verdicts_are_those_of_this_process(pool: WorkerPool) -> None:
    files = [GOOD, BAD, EXPENSIVE, (GOOD[0], b"version https://git-lfs.github.com/spec/ v1")]
    assert pool.validate(load_task, files) == validate_here(load_task, files)
    assert len(pool.pids) == 1


def test_small_files_need_no_process(pool: WorkerPool) -> None:
    small = (GOOD[0], GOOD[1][:200])
    assert pool.validate(load_task, [small]) == validate_here(load_task, [small])
    assert pool.pids == set()


def test_a_process_that_is_killed_is_replaced(
    pool: WorkerPool, threads: ThreadPoolExecutor
) -> None:
    """The verdicts are the right ones all the same, also of the calls in other processes."""
    files = [large(f"t{n}", more="  context: [" + "{}," * 4_900 + "]\n") for n in range(3)]
    killed = threads.submit(pool.validate, load_task, files)
    (pid,) = until(lambda: pool.pids)
    other = threads.submit(pool.validate, load_task, [GOOD])
    os.kill(pid, signal.SIGKILL)
    assert other.result(60) == validate_here(load_task, [GOOD])
    assert killed.result(60) == validate_here(load_task, files)
    assert pid not in pool.pids


def test_an_idle_process_that_is_killed_is_replaced(pool: WorkerPool) -> None:
    pool.validate(load_task, [GOOD])
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    assert pool.validate(load_task, [BAD, GOOD]) == validate_here(load_task, [BAD, GOOD])


def test_a_process_that_hangs_is_ended_and_delays_no_other(
    open_pool: Callable[[Limits], WorkerPool], threads: ThreadPoolExecutor
) -> None:
    pool = open_pool(Limits(seconds=6))
    pool.validate(load_task, [GOOD])
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    hanging: Future[Any] = threads.submit(pool.validate, load_task, [GOOD])
    until(lambda: not pool._idle)
    others = [large("fix", org="globex"), large("bad", org="globex", more="spec: {}\n")]
    assert pool.validate(load_task, others) == validate_here(load_task, others)
    assert not hanging.done()
    (verdict,) = hanging.result(30)
    assert verdict[0] is None
    assert str(verdict[1][0]) == (
        "tasks/acme/fix.yaml: validating it took more than 6 s; make the file smaller or simpler"
    )
    assert not is_running(pid)


@pytest.mark.parametrize(
    ("load", "message"),
    [(HANGS, "more than 0 s of CPU"), (DEVOURS_MEMORY, "more than 512 MiB of memory")],
)
def test_a_file_that_exceeds_a_limit_is_refused(
    open_pool: Callable[[Limits], WorkerPool], load: Any, message: str
) -> None:
    """Alone: the worker is gone, and the next file has another."""
    pool = open_pool(Limits(cpu_seconds=0))
    ((found, problems),) = pool.validate(load, [GOOD])
    assert found is None
    assert problems[0].path == GOOD[0].path
    assert message in problems[0].message
    assert pool.validate(load_task, [GOOD]) == validate_here(load_task, [GOOD])


def test_the_last_good_version_of_a_refused_file_stays_in_force(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1; and the other files of the commit are loaded."""
    blobs = {"good": GOOD[1], "killer": EXPENSIVE[1], "other": large("other")[1]}
    files = {
        "fix": SourceFile(task_path("acme", "fix"), "killer"),
        "other": SourceFile(task_path("acme", "other"), "other"),
    }
    ask = pool._ask

    def ended_by_one_file(load: Any, batch: Any) -> Any:
        if any(content == blobs["killer"] for _, content in batch):
            return ask(HANGS, batch)
        return ask(load, batch)

    monkeypatch.setattr(pool, "_ask", ended_by_one_file)
    monkeypatch.setattr(pool, "_limits", Limits(cpu_seconds=0))
    loaded = load_tasks(
        files,
        lambda bad: dict.fromkeys(bad, "good"),
        "r",
        lambda ids: ((oid, len(blobs[oid]), blobs[oid]) for oid in ids),
        pool.validate,
    )
    assert set(loaded.tasks) == {"fix", "other"}
    assert loaded.tasks["fix"].source.blob == "good"
    assert set(loaded.quarantined) == {"fix"}
    assert "s of CPU" in loaded.quarantined["fix"].problems[0].message


def test_a_defect_in_a_process_is_raised_here(pool: WorkerPool) -> None:
    """It becomes the org's fault, as it would without processes; the process goes on."""
    with pytest.raises(RuntimeError, match="ValueError: invalid literal"):
        pool.validate(FAILS, [GOOD])
    (pid,) = pool.pids
    assert pool.validate(load_task, [GOOD]) == validate_here(load_task, [GOOD])
    assert pool.pids == {pid}


def test_a_process_inherits_no_secret(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """I8: neither variables nor descriptors; and the event loop has the CPU before it."""
    monkeypatch.setenv("GUILDNET_TEST_TOKEN", "hunter2")
    with Path("/dev/null").open() as held:
        os.set_inheritable(held.fileno(), True)
        pool.validate(load_task, [GOOD])
        (pid,) = pool.pids
        proc = Path("/proc") / str(pid)
        assert b"hunter2" not in (proc / "environ").read_bytes()
        open_here = {os.readlink(entry) for entry in (proc / "fd").iterdir()}
        assert len([name for name in open_here if name.startswith("socket:")]) == 1
        assert len(list((proc / "fd").iterdir())) == 4
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0) or (
        os.getpriority(os.PRIO_PROCESS, pid) == 19
    )


async def test_idle_processes_are_ended(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.1)
    await asyncio.to_thread(pool.validate, load_task, [GOOD])
    (pid,) = pool.pids
    ending = asyncio.create_task(pool.end_idle())
    async with asyncio.timeout(20):
        while is_running(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    ending.cancel()
    assert pool.pids == set()


OWNER = """
import re, sys, threading, time
from functools import partial
from guildnet.loading import load_task
from guildnet.resources import Source
from guildnet_reconciler.validation.limits import Limits
from guildnet_reconciler.validation.pool import WorkerPool
pool = WorkerPool(Limits(cpu_seconds=1))
file = (Source("tasks/acme/fix.yaml", "b", "r"), b"# " + b"x" * 20_000)
pool.validate(load_task, [file])
if sys.argv[1] == "busy":
    hangs = partial(max, key=partial(re.match, rb"(?s)(.+.+)+y\\Z"))
    threading.Thread(target=pool.validate, args=(hangs, [file])).start()
    while pool._idle:
        time.sleep(0.01)
print(*pool.pids, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_no_process_outlives_a_killed_reconciler(state: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_running(pid)
        owner.kill()
    until(lambda: not is_running(pid))
