"""What a worker process may use."""

from __future__ import annotations

from dataclasses import dataclass

WORKERS = 2
"""Processes that validate at once for all orgs, without those that are overdue; one for an org."""
MAX_WORKERS = 8
"""Processes in all; each has about 25 MiB of memory, half of it shared."""
NICENESS = 10
"""The event loop has the CPU first."""
MEMORY_BYTES = 512 * 1024 * 1024
"""Address space. The most expensive file of 256 KiB takes about 100 MiB."""
IDLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request. The most expensive file of 256 KiB takes 0.2 s of CPU; the second
    limit leaves time for a machine that is busy with other work."""

    cpu_seconds: int = 5
    seconds: float = 60.0
