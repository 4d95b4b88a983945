"""The program of a worker process: validates files until its connection closes.

`python -P -m guildnet_reconciler.validation.worker DESCRIPTOR`

The connection closes when the reconciler ends, however it ends. A file that takes too much CPU
ends the worker by a signal, since the code of a C library cannot be interrupted in another way.
"""

from __future__ import annotations

import os
import resource
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from guildnet_reconciler.validation.limits import MEMORY_BYTES, NICENESS, Limits
from guildnet_reconciler.validation.verdict import validate_here


def main() -> None:
    """Answer requests of the form (load, files, limits) with verdicts or an exception."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            load, files, limits = connection.recv()
        except EOFError:
            return
        _limit_cpu(limits)
        try:
            answer: Any = validate_here(load, files)
        except MemoryError:
            answer = MemoryError()
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__}: {error}")
            answer.add_note(traceback.format_exc())
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


def _limit_cpu(limits: Limits) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, most))


if __name__ == "__main__":
    main()
