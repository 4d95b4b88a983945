"""A Lease that fences writes: its holder may write, and stops before another can take over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from guildnet import __version__, labels
from guildnet.backoff import spread
from guildnet.errors import KubeConflict, KubeError, KubeNotFound
from guildnet.kube.answers import JsonObject
from guildnet.kube.client import KubeClient
from guildnet.kube.kinds import LEASES


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Another process may take the Lease `duration` after its last renewal; the holder stops
    writing `renew_deadline` after it. Every `retry` it is renewed, or acquired if not held. One
    request may take `request_timeout`: with the defaults, a server that hangs is reported 6 s
    after its last answer."""

    duration: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry: timedelta = timedelta(seconds=2)
    request_timeout: timedelta = timedelta(seconds=4)


MAX_DURATION_SECONDS = 3600
"""The longest time that a dead holder keeps the Lease, whatever leaseDurationSeconds says."""


def steady_seconds() -> float:
    """Seconds of a clock that cannot be set and that also counts while the machine sleeps."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(boot_time)


class Lease:
    """A coordination.k8s.io Lease, acquired and renewed while `run` runs."""

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
        """`holder` must be unique to this process. `on_held` is called when the Lease is acquired
        or lost; `on_liveness` with the error of each failed attempt, and with None once the API
        server answers again. While `may_renew` returns False the Lease is neither renewed nor
        acquired. `may_acquire` is awaited before each attempt to acquire, and may raise
        KubeError. `held`, `remaining`, `term` and `other_holder` may be read from any thread."""
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
        """Identifies the current or last period of holding the Lease; it changes whenever another
        process may have held the Lease in between."""

    @property
    def held(self) -> bool:
        """Whether a write may start now. False once the renew deadline has passed, by a clock that
        is not affected by setting the time or by suspending the machine."""
        return self.remaining > timedelta(0)

    @property
    def remaining(self) -> timedelta:
        """How long `held` stays True without another renewal; zero if it is not held."""
        renewed_at = self._renewed_at
        if renewed_at is None:
            return timedelta(0)
        age = timedelta(seconds=steady_seconds() - renewed_at)
        return max(timedelta(0), self._timing.renew_deadline - age)

    @property
    def other_holder(self) -> str | None:
        """The other process that held it when it was last read; None if there was none."""
        holder = _spec(self._seen).get("holderIdentity")
        return str(holder) if holder and holder != self._holder else None

    async def wait_held(self) -> None:
        """Wait until the Lease is held."""
        while not self.held:
            self._gained.clear()
            await self._gained.wait()

    async def run(self) -> None:
        """Acquire and renew the Lease, and acquire it again if lost; release it when cancelled."""
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
            # Another process was faster, or an answer was lost: read it before the next attempt.
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
        lease = self._seen if self.held and self._seen is not None else await self._read()
        if lease is None:
            created = await self._client.create(self._wanted(None), timeout=self._limit)
            self._acquired(created, began)
        elif self._may_take(lease):
            # Measure from before the request, because the server applies it later.
            began = steady_seconds()
            replaced = await self._client.replace(self._wanted(lease), timeout=self._limit)
            self._acquired(replaced, began)

    async def _read(self) -> JsonObject | None:
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
        # renewTime is from another machine's clock; instead, measure how long we saw no change.
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
        metadata: JsonObject = (
            lease["metadata"] if lease else {"name": self._name, "namespace": self._namespace}
        )
        # With the holder, because a release that does not write it leaves it as it is.
        version = {labels.HOLDER_VERSION: f"{__version__} {self._holder}"}
        annotations = {**(metadata.get("annotations") or {}), **version}
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {**metadata, "annotations": annotations},
            "spec": spec,
        }

    def _acquired(self, lease: JsonObject, began: float) -> None:
        # The Lease may have expired during the request: report that loss, however short.
        self._announce()
        self._seen = lease
        # Set it before `held` becomes True, so that other threads do not read the old term.
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
                await self._clear_holder(self._seen)
            except KubeConflict:
                await self._clear_holder(await self._read())

    async def _clear_holder(self, lease: JsonObject | None) -> None:
        if lease is None or _spec(lease).get("holderIdentity") != self._holder:
            return
        cleared = self._wanted(lease)
        cleared["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        await self._client.replace(cleared, timeout=self._limit)


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _spec(lease: JsonObject | None) -> JsonObject:
    spec = (lease or {}).get("spec")
    return spec if isinstance(spec, dict) else {}
