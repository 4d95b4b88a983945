"""What must hold for a write to start; a Lease is one."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from guildnet.errors import KubeUnavailable

LEASE_NOT_HELD = "LeaseNotHeld"
# A write that began while the fence held must be over before another holder may begin.
FENCE_GRACE = timedelta(seconds=4)


class Fence(Protocol):
    """What must hold for a write to start."""

    @property
    def held(self) -> bool:
        """Whether a write may start now."""
        ...

    @property
    def remaining(self) -> timedelta:
        """How long it will hold without being renewed."""
        ...


def fenced_timeout(fence: Fence | None, timeout: timedelta, place: str) -> timedelta:
    """How long a write that starts now may take; KubeUnavailable when it must not start."""
    if fence is None:
        return timeout
    if not fence.held:
        raise KubeUnavailable(
            "the Lease is not held: another process may be writing",
            place=place,
            reason=LEASE_NOT_HELD,
        )
    return min(timeout, fence.remaining + FENCE_GRACE)
