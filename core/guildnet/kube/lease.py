"""A Lease that fences writes: who holds it may write, and knows in time when it may not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from guildnet.backoff import spread
from guildnet.errors import KubeConflict, KubeError, KubeNotFound
from guildnet.kube.answers import JsonObject
from guildnet.kube.client import KubeClient
from guildnet.kube.kinds import LEASES


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Others may take the Lease `duration` after its last renewal; its holder stops writing
    `renew_deadline` after it; it is renewed, or tried for, every `retry`. One request may take
    `request_timeout`: with the defaults a hanging server is named 6 s after its last answer."""

    duration: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry: timedelta = timedelta(seconds=2)
    request_timeout: timedelta = timedelta(seconds=4)


MAX_DURATION_SECONDS = 3600
"""A holder that is gone keeps a Lease no longer, whatever it has written there."""


def steady_seconds() -> float:
    """Seconds by a clock that runs on while the machine sleeps and that nobody can set."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(boot_time)


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
        may_renew: Callable[[], bool] = lambda: True,
        may_acquire: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """`holder` must be unique to this process. `on_held` is called when it is gained and lost,
        `on_liveness` with the error of each try that fails, and with None when the API server
        answers again. While `may_renew` says no, it is neither renewed nor tried for;
        `may_acquire` is asked before it is tried for, and may raise KubeError. `held`,
        `remaining`, `term` and `other_holder` may be read from any thread."""
        self._client = client
        self._name = name
        self._holder = holder
        self._namespace = client.namespace if namespace is None else namespace
        self._timing = timing or LeaseTiming()
        self._on_held = on_held
        self._on_liveness = on_liveness
        self._may_renew = may_renew
        self._may_acquire = may_acquire
        self._renewed_at: float | None = None
        self._seen: JsonObject | None = None
        self._seen_version = ""
        self._seen_at = 0.0
        self._failing = False
        self._announced = False
        self._gained = asyncio.Event()
        self.term = ""
        """Which holding this is or last was: it changes whenever another may have held it since."""

    @property
    def held(self) -> bool:
        """Whether a write may start now. False from the renew deadline on, by a clock that
        neither setting the time nor sleeping can turn back."""
        return self.remaining > timedelta(0)

    @property
    def remaining(self) -> timedelta:
        """How long `held` stays true without another renewal; zero when it is not held."""
        renewed_at = self._renewed_at
        if renewed_at is None:
            return timedelta(0)
        age = timedelta(seconds=steady_seconds() - renewed_at)
        return max(timedelta(0), self._timing.renew_deadline - age)

    @property
    def other_holder(self) -> str | None:
        """Who else holds it, as last seen."""
        holder = _spec(self._seen).get("holderIdentity")
        return str(holder) if holder and holder != self._holder else None

    async def wait_held(self) -> None:
        """Return once it is held."""
        while not self.held:
            self._gained.clear()
            await self._gained.wait()

    async def run(self) -> None:
        """Acquire, renew, and acquire again when lost, until cancelled; then release it."""
        try:
            while True:
                began = steady_seconds()
                if self._may_renew():
                    await self._try()
                self._announce()
                # Spread, so that the Leases of many orgs are not renewed at the same moment.
                pause = spread(self._timing.retry, 0.15).total_seconds()
                pause -= steady_seconds() - began
                await asyncio.sleep(max(0.05, min(pause, self._until_lost())))
                self._announce()
        finally:
            await self._release()

    def _until_lost(self) -> float:
        return self.remaining.total_seconds() if self.held else float("inf")

    async def _try(self) -> None:
        try:
            await self._acquire_or_renew()
        except KubeConflict:
            # Somebody was faster, or an answer was lost: look before the next try.
            self._seen = None
            self._answered(None)
        except KubeError as error:
            self._seen = None
            self._answered(error)
        else:
            self._answered(None)

    async def _acquire_or_renew(self) -> None:
        began = steady_seconds()
        if not self.held and self._may_acquire is not None and not await self._may_acquire():
            return
        lease = self._seen if self.held and self._seen is not None else await self._look()
        if lease is None:
            created = await self._client.create(self._wanted(None), timeout=self._limit)
            self._took(created, began)
        elif self._may_take(lease):
            # The age counts from before the request: the server saw it later than that.
            began = steady_seconds()
            replaced = await self._client.replace(self._wanted(lease), timeout=self._limit)
            self._took(replaced, began)

    async def _look(self) -> JsonObject | None:
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace, timeout=self._limit)
        except KubeNotFound:
            return None
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, steady_seconds()
        self._seen = lease
        return lease

    @property
    def _limit(self) -> timedelta:
        return self._timing.request_timeout

    def _may_take(self, lease: JsonObject) -> bool:
        spec = _spec(lease)
        if spec.get("holderIdentity") in (None, "", self._holder):
            return True
        # Its times are of another machine's clock: what counts is how long we saw no change.
        duration = min(_number(spec.get("leaseDurationSeconds")), MAX_DURATION_SECONDS)
        return steady_seconds() - self._seen_at > duration

    def _wanted(self, lease: JsonObject | None) -> JsonObject:
        spec = dict(_spec(lease))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if spec.get("holderIdentity") != self._holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = _number(spec.get("leaseTransitions")) + (lease is not None)
        spec["holderIdentity"] = self._holder
        spec["leaseDurationSeconds"] = int(self._timing.duration.total_seconds())
        spec["renewTime"] = now
        metadata = (
            lease["metadata"] if lease else {"name": self._name, "namespace": self._namespace}
        )
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": spec,
        }

    def _took(self, lease: JsonObject, began: float) -> None:
        # It may have run out while this was asked for: that is a loss, however short.
        self._announce()
        self._seen = lease
        # Before it counts as held: a reader in another thread must not take it for the old one.
        self.term = f"{_spec(lease).get('leaseTransitions')} {_spec(lease).get('acquireTime')}"
        self._renewed_at = began

    def _answered(self, error: KubeError | None) -> None:
        was_failing, self._failing = self._failing, error is not None
        if self._on_liveness is not None and (error is not None or was_failing):
            self._on_liveness(error)

    def _announce(self) -> None:
        held = self.held
        if held:
            self._gained.set()
        if held != self._announced:
            self._announced = held
            if self._on_held is not None:
                self._on_held(held)

    async def _release(self) -> None:
        held, self._renewed_at = self.held, None
        self._announce()
        if not held:
            return
        with contextlib.suppress(KubeError):
            try:
                await self._give_back(self._seen)
            except KubeConflict:
                await self._give_back(await self._look())

    async def _give_back(self, lease: JsonObject | None) -> None:
        if lease is None or _spec(lease).get("holderIdentity") != self._holder:
            return
        returned = self._wanted(lease)
        returned["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        await self._client.replace(returned, timeout=self._limit)


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _spec(lease: JsonObject | None) -> JsonObject:
    spec = (lease or {}).get("spec")
    return spec if isinstance(spec, dict) else {}
