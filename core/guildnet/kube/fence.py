"""The condition under which a write may start, such as holding a Lease."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from guildnet.errors import KubeUnavailable

LEASE_NOT_HELD = "LeaseNotHeld"
# A write that started while the fence was held must end before another holder may write.
FENCE_GRACE = timedelta(seconds=4)


class Fence(Protocol):
    """The condition under which a write may start."""

    @property
    def held(self) -> bool:
        """Whether a write may start now."""
        ...

    @property
    def remaining(self) -> timedelta:
        """How long it stays held without a renewal."""
        ...


def fenced_timeout(fence: Fence | None, timeout: timedelta, place: str) -> timedelta:
    """How long a write that starts now may take; KubeUnavailable if it must not start."""
    if fence is None:
        return timeout
    if not fence.held:
        raise KubeUnavailable(
            "the Lease is not held: another process may be writing",
            place=place,
            reason=LEASE_NOT_HELD,
        )
    return min(timeout, fence.remaining + FENCE_GRACE)
