"""The worker processes that all orgs share: started when needed, ended when idle."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from guildnet.errors import Problem
from guildnet.resources import Source
from guildnet_reconciler.validation.limits import IDLE_SECONDS, Limits
from guildnet_reconciler.validation.process import WorkerEnded, WorkerProcess
from guildnet_reconciler.validation.verdict import Load, R, Verdict, validate_here

SMALL_BYTES = 16 * 1024
"""Less is validated in the calling thread: at most about 15 ms, the cost of asking a worker is
about 1 ms."""
SMALL_FILE_BYTES = 1024
"""Files up to this size cost 1 ms at most. In a first sync of many, workers with a low priority
would fall behind an API server on the same machine."""


class WorkerPool:
    """Validates in worker processes. Each call has a process of its own: one that ends takes no
    other call with it. The callers bound how many there are. Thread-safe."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._is_closed = False

    def validate(self, load: Load[R], files: Sequence[tuple[Source, bytes]]) -> list[Verdict[R]]:
        """One verdict for each file, in order; blocks.

        The verdict on a file that a worker could not validate within its limits, or that ended two
        workers, is that problem.
        """
        if sum(len(content) for _, content in files) < SMALL_BYTES:
            return validate_here(load, files)
        try:
            return self._ask(load, files)
        except WorkerEnded as error:
            if error.is_by_limit and len(files) == 1:
                return [_refused(files[0][0], error)]
        return [self._one(load, *file) for file in files]

    def _one(self, load: Load[R], source: Source, content: bytes) -> Verdict[R]:
        try:
            return self._ask(load, [(source, content)])[0]
        except WorkerEnded as error:
            return _refused(source, error)

    def _ask(self, load: Load[R], files: Sequence[tuple[Source, bytes]]) -> list[Verdict[R]]:
        with self._worker() as worker:
            return worker.validate(load, files, self._limits)

    @contextmanager
    def _worker(self) -> Iterator[WorkerProcess]:
        """An idle process or a new one, which is idle again after the block unless it ended."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the reconciler is being closed")
            worker = self._idle.pop() if self._idle else WorkerProcess()
            self._busy.add(worker)
        try:
            yield worker
        except WorkerEnded:
            with self._lock:
                self._busy.discard(worker)
            raise
        except BaseException:
            self._give_back(worker)
            raise
        self._give_back(worker)

    def _give_back(self, worker: WorkerProcess) -> None:
        worker.idle_since = time.monotonic()
        with self._lock:
            self._busy.discard(worker)
            self._idle.append(worker)

    @property
    def pids(self) -> set[int]:
        """The processes that are there."""
        with self._lock:
            return {worker.pid for worker in (*self._idle, *self._busy)}

    async def end_idle(self) -> None:
        """End processes that had no work for IDLE_SECONDS; run until cancelled."""
        while True:
            await asyncio.sleep(IDLE_SECONDS / 2)
            long_ago = time.monotonic() - IDLE_SECONDS
            with self._lock:
                ended = [worker for worker in self._idle if worker.idle_since < long_ago]
                self._idle = [worker for worker in self._idle if worker not in ended]
            for worker in ended:
                await asyncio.to_thread(worker.end)

    def close(self) -> None:
        """End all processes, working ones too; blocks until the idle ones are gone."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.kill()
        for worker in idle:
            worker.end()


def _refused(source: Source, error: WorkerEnded) -> tuple[None, tuple[Problem, ...]]:
    return None, (Problem(source.path, 0, f"{error}; make the file smaller or simpler"),)
