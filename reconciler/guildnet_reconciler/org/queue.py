"""Decides when the passes of one org are made, and after how long one is tried again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from guildnet.backoff import Backoff
from guildnet.outcome import Done, Outcome, Stalled, Waiting
from guildnet_reconciler.capacity.deadline import PassDeadline
from guildnet_reconciler.faults import INTERNAL_ERROR
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.reconciler import OrgReconciler
from guildnet_reconciler.org.session import LEASE_HELD
from guildnet_reconciler.org.state import Scope
from guildnet_reconciler.settings import Settings

log = logging.getLogger(__name__)

AFTER_DEFECT_SECONDS = 1.0


class OrgQueue:
    """The scopes that wait for a pass over one org."""

    def __init__(self, name: str, settings: Settings, metrics: Metrics) -> None:
        self.name = name
        self.outcome: Outcome | None = None
        self.revision: str | None = None
        self._settings = settings
        self._metrics = metrics
        self._pending = Scope()
        self._wakened = asyncio.Event()
        self._failures = 0
        self._busy = False

    def put(self, scope: Scope) -> None:
        """Ask for a pass over `scope`; an empty one handles expiries, holds and finalizers."""
        if scope.since is None:
            scope.since = time.monotonic()
        self._pending.add(scope)
        self._wakened.set()

    @property
    def idle(self) -> bool:
        """Whether the queue only waits."""
        return not self._busy and not self._wakened.is_set() and self.outcome is not None

    async def run(
        self,
        org: OrgReconciler,
        revision: Callable[[], str | None],
        after: Callable[[], None],
    ) -> None:
        """Make passes until cancelled; `after` is called after each."""
        while True:
            with org.firewall.around("schedule"):
                await self._turn(org, revision, after)
                continue
            self.outcome = Waiting(
                INTERNAL_ERROR, "its queue failed: see the faults in its org.json"
            )
            self._failures += 1
            # It is not known how much of the scope is done.
            self._pending.add(Scope(full=True))
            self._busy = False
            await asyncio.sleep(AFTER_DEFECT_SECONDS)

    async def _turn(
        self,
        org: OrgReconciler,
        revision: Callable[[], str | None],
        after: Callable[[], None],
    ) -> None:
        """Wait for work, make one pass, and log its outcome."""
        await self._wait(org)
        self._busy = True
        self._wakened.clear()
        scope, self._pending = self._pending, Scope()
        if scope.since is not None:
            waited = time.monotonic() - scope.since
            self._metrics.queue_age.labels(self.name).set(waited)
        taken = revision()
        if self._failures:
            scope.tasks |= org.failed_tasks
        before, self.outcome = self.outcome, await self._pass(org, scope)
        self._log(before)
        self._metrics.passes.labels(self.name, type(self.outcome).__name__).inc()
        self._measure(self.outcome)
        if isinstance(self.outcome, Done):
            self._failures = 0
        else:
            self._failures += 1
            if not scope.done:
                self._again(scope)
        self.revision = taken
        self._busy = False
        after()

    def _measure(self, outcome: Outcome) -> None:
        if isinstance(outcome, Waiting) and outcome.reason == LEASE_HELD:
            self._metrics.forget_org(self.name)
        else:
            self._metrics.in_sync.labels(self.name).set(isinstance(outcome, Done))

    def _log(self, before: Outcome | None) -> None:
        """Log the outcome if it has changed."""
        if self.outcome == before:
            return
        if isinstance(self.outcome, (Waiting, Stalled)):
            extra = {"org": self.name}
            log.warning("%s: %s", self.outcome.reason, self.outcome.message, extra=extra)
        elif not isinstance(before, Done):
            log.info("in sync", extra={"org": self.name})

    def _again(self, scope: Scope) -> None:
        """Put what was not done into the next pass, without waking the queue."""
        scope.since = None
        self._pending.add(scope)

    async def _pass(self, org: OrgReconciler, scope: Scope) -> Outcome:
        deadline = PassDeadline(self._settings.pass_deadline)
        try:
            async with deadline.limit:
                return await org.run(scope, deadline)
        except TimeoutError:
            limit = self._settings.pass_deadline
            return Waiting(
                "PassDeadline",
                f"no progress within {limit}: the pass is tried again",
            )

    async def _wait(self, org: OrgReconciler) -> None:
        try:
            async with asyncio.timeout(self._delay(org)):
                await self._wakened.wait()
        except TimeoutError:
            return

    def _delay(self, org: OrgReconciler) -> float | None:
        delays: list[float] = []
        if org.next_expiry is not None:
            left = org.next_expiry - datetime.now(UTC)
            delays.append(max(left.total_seconds(), 0.0))
        if self._failures:
            delays.append(self._back_off())
        if org.awaits_finalizers:
            delays.append(10.0)
        return min(delays, default=None)

    def _back_off(self) -> float:
        outcome = self.outcome
        if isinstance(outcome, Waiting) and outcome.retry_in is not None:
            return outcome.retry_in.total_seconds()
        backoff = Backoff(self._settings.retry, self._settings.max_retry)
        return backoff.pause(self._failures).total_seconds()
