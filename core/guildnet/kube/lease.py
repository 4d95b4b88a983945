"""A Lease that fences writes: who holds it may write, and knows in time when it may not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from guildnet.errors import KubeError
from guildnet.kube.client import KubeClient


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Others may take the Lease `duration` after its last renewal; its holder stops writing
    `renew_deadline` after it; it is renewed, or tried for, every `retry`. One request may take
    `request_timeout`: with the defaults a hanging server is named 6 s after its last answer."""

    duration: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry: timedelta = timedelta(seconds=2)
    request_timeout: timedelta = timedelta(seconds=4)


class Lease:
    """A coordination.k8s.io Lease, tried for and renewed while `run` runs."""

    def __init__(
        self,
        client: KubeClient,
        name: str,
        holder: str,
        *,
        namespace: str | None = None,
        timing: LeaseTiming | None = None,
        on_held: Callable[[bool], None] | None = None,
        on_liveness: Callable[[KubeError | None], None] | None = None,
    ) -> None:
        """`holder` must be unique to this process. `on_held` is told when it is gained and lost;
        `on_liveness` of each failing request to the API server, and None when it answers again."""
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """Whether a write may start now. False from the renew deadline on, by a clock that
        neither setting the time nor sleeping can turn back."""
        raise NotImplementedError

    @property
    def remaining(self) -> timedelta:
        """How long `held` stays true without another renewal; zero when it is not held."""
        raise NotImplementedError

    @property
    def other_holder(self) -> str | None:
        """Who else holds it, as last seen."""
        raise NotImplementedError

    async def wait_held(self) -> None:
        """Return once it is held."""
        raise NotImplementedError

    async def run(self) -> None:
        """Acquire, renew, and acquire again when lost, until cancelled; then release it."""
        raise NotImplementedError
