"""Runs the repository's passes, and puts each change into the queue of its org.

Orgs run side by side and share nothing that can block (I3). A request that arrives during a pass
is handled by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection

from guildnet.backoff import Backoff, spread
from guildnet.errors import GuildNetError
from guildnet.outcome import Done, Waiting
from guildnet.redact import Redactor
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.faults import INTERNAL_ERROR, described
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.queue import OrgQueue
from guildnet_reconciler.org.reconciler import OrgReconciler
from guildnet_reconciler.org.state import Scope
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.follow import Repository, RepositoryPass
from guildnet_reconciler.source.index import OrgChange

log = logging.getLogger(__name__)


class Scheduler:
    """Runs the repository's passes and every org's queue."""

    def __init__(
        self,
        settings: Settings,
        repository: Repository,
        status: StatusWriter,
        metrics: Metrics,
        *,
        capacity: Capacity,
        on_settled: Callable[[str, bool], Awaitable[None]],
    ) -> None:
        """`on_settled` is called once for each tip that all orgs have processed, with its id and
        whether nothing of it is failed, held or quarantined."""
        self.repository = repository
        self._settings = settings
        self._status = status
        self._metrics = metrics
        self._capacity = capacity
        self._on_settled = on_settled
        self._orgs: dict[str, tuple[OrgReconciler, OrgQueue]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._triggered = asyncio.Event()
        self._ask_first = False
        self._resync: set[str] = set()
        self._settled: str | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._maintenance: asyncio.Task[None] | None = None
        self.last: RepositoryPass | None = None
        status.on_pushed = self._records_pushed

    # --- requests for a pass ----------------------------------------------------------------

    def trigger(self, *, ask_first: bool = False) -> None:
        """Ask for a repository pass. `ask_first` compares the remote's refs before it fetches."""
        self._ask_first = ask_first if not self._triggered.is_set() else self._ask_first & ask_first
        self._triggered.set()

    def resync(self, org: str | None) -> list[str]:
        """Ask for a fetch and a full pass over one org, or over all; return their names."""
        chosen = [name for name in sorted(self._orgs) if org is None or name == org]
        self._resync |= set(chosen)
        self.trigger()
        return chosen

    def kubeconfigs_changed(self, names: Collection[str]) -> None:
        """Open the orgs that use these kubeconfigs again."""
        for org, queue in self._orgs.values():
            if org.kubeconfig in names:
                queue.put(Scope())

    # --- running ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Make passes until cancelled."""
        failures = 0
        try:
            while True:
                self._triggered.clear()
                failures = 0 if await self._try_pass() else failures + 1
                await self._wait(failures)
        finally:
            await self.close()

    async def _try_pass(self) -> bool:
        """Make one repository pass; return whether it succeeded. A defect ends this pass only: the
        orgs keep working on the revision that they have."""
        try:
            result = await self.repository_pass(ask_first=self._ask_first)
        except Exception as error:
            log.exception("the repository pass failed")
            self.repository.fail(Waiting(INTERNAL_ERROR, described(error, Redactor(()))))
            return False
        is_done = isinstance(result.outcome, Done)
        if is_done and not result.is_new:
            self._maintain()
        return is_done

    def _maintain(self) -> None:
        """Pack the mirror in the background."""
        if self._maintenance is None or self._maintenance.done():
            self._maintenance = asyncio.create_task(self._pack())

    async def _pack(self) -> None:
        mirror = self.repository.mirror
        try:
            await asyncio.to_thread(mirror.maintain)
            self._metrics.mirror_bytes.set(await asyncio.to_thread(mirror.size_bytes))
        except GuildNetError as error:
            log.warning("the mirror could not be packed, and is tried again when idle: %s", error)
        except Exception:
            log.exception("the mirror could not be packed")

    async def _wait(self, failures: int) -> None:
        poll = self._settings.poll
        pause = Backoff(self._settings.retry, poll).pause(failures) if failures else spread(poll)
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._triggered.wait()
        except TimeoutError:
            self._ask_first = True

    async def repository_pass(self, *, ask_first: bool) -> RepositoryPass:
        """Fetch, verify, diff; then put each org's changes into its queue."""
        began = time.perf_counter()
        result = await self.repository.run(ask_first=ask_first, attempted_elsewhere=self._attempted)
        self._metrics.step_seconds.labels("repository", "").observe(time.perf_counter() - began)
        self._metrics.repository_ok.set(isinstance(result.outcome, Done))
        self.last = result
        fetched = result.fetched
        if fetched is not None:
            if fetched.asked_status:
                await self._check_status(fetched.status_tip)
            if self.repository.index is not None:
                self._status.source_revision = self.repository.index.revision
        if result.is_new:
            self._dispatch(result.changes)
        elif not isinstance(result.outcome, Done):
            for org, _ in self._orgs.values():
                org.report()
        resync, self._resync = self._resync, set()
        for name in resync:
            self._wake(name, Scope(full=True))
        return result

    async def _check_status(self, tip: str | None) -> None:
        was_lost = self._status.lost
        await self._status.check(tip)
        if was_lost is not None and self._status.lost is None:
            self._dispatch(None)

    def _attempted(self) -> set[str]:
        records = (self._status.of(org).org for org in self._status.orgs())
        return {record.attempted for record in records if record and record.attempted}

    def _dispatch(self, changes: dict[str, OrgChange] | None) -> None:
        index = self.repository.index
        if index is None:
            return
        if changes is None:
            for org in sorted(index.known_orgs() | self._status.orgs()):
                self._wake(org, Scope(full=True))
            return
        for org, change in changes.items():
            self._wake(org, Scope(org_file=change.org_file, tasks=set(change.tasks)))
        for name, (reconciler, queue) in self._orgs.items():
            if name not in changes:
                # An approval can be in a commit that changes no file of the org.
                if reconciler.is_held:
                    queue.put(Scope())
                else:
                    queue.revision = index.revision if queue.idle else queue.revision
        self._check_settled()

    def _wake(self, name: str, scope: Scope) -> None:
        if not self._settings.is_mine(name):
            return
        if name not in self._orgs:
            self._start(name)
            scope = Scope(full=True)
        self._orgs[name][1].put(scope)

    def _start(self, name: str) -> None:
        queue = OrgQueue(name, self._settings, self._metrics)
        org = OrgReconciler(
            name,
            tree=self.repository,
            status=self._status,
            settings=self._settings,
            metrics=self._metrics,
            capacity=self._capacity,
            wake=queue.put,
        )
        self._orgs[name] = (org, queue)
        self._tasks[name] = asyncio.create_task(
            queue.run(org, self._revision, self._check_settled), name=f"org {name}"
        )

    def _revision(self) -> str | None:
        return self.repository.index.revision if self.repository.index else None

    def _records_pushed(self) -> None:
        self._metrics.status_commits.set(self._status.commits)
        for org, _ in self._orgs.values():
            org.records_pushed()

    # --- state -----------------------------------------------------------------------------

    def _check_settled(self) -> None:
        """Call `on_settled` once for a tip that every org has processed."""
        tip = self._revision()
        if tip is None or tip == self._settled:
            return
        if all(queue.revision == tip for _, queue in self._orgs.values()):
            self._settled = tip
            clean = all(org.is_clean for org, _ in self._orgs.values())
            task = asyncio.create_task(self._notify(tip, clean))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _notify(self, tip: str, clean: bool) -> None:
        try:
            await self._on_settled(tip, clean)
        except GuildNetError as error:
            log.warning("the commit status could not be set: %s", error)
        except Exception:
            log.exception("the commit status could not be set")

    @property
    def is_settled(self) -> bool:
        """Whether every org has made its pass over the newest revision, and its checks."""
        return all(queue.idle and org.has_checked for org, queue in self._orgs.values())

    @property
    def is_notifying(self) -> bool:
        """Whether a receiver is sent something that it has not refused yet."""
        return any(org.is_notifying for org, _ in self._orgs.values())

    @property
    def is_clean(self) -> bool:
        """Whether nothing is failed, held or quarantined, in the repository and in every org."""
        repository = isinstance(self.repository.outcome, Done) and not self.repository.faults
        return repository and all(
            org.is_clean and isinstance(queue.outcome, Done) for org, queue in self._orgs.values()
        )

    def summary(self) -> dict[str, str]:
        """The last outcome of each org in one line, for /ready and logs."""
        lines: dict[str, str] = {}
        for name, (org, queue) in sorted(self._orgs.items()):
            outcome = queue.outcome
            defects = org.firewall.faults
            if defects:
                lines[name] = f"{defects[0].reason}: {defects[0].message}"
            elif outcome is None:
                lines[name] = "starting"
            elif isinstance(outcome, Done):
                lines[name] = "ok"
            else:
                lines[name] = f"{outcome.reason}: {outcome.message}"
        return lines

    async def close(self) -> None:
        """End every org and release its Lease."""
        tasks = [*self._tasks.values(), *([self._maintenance] if self._maintenance else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closed = await asyncio.gather(
            *(org.close() for org, _ in self._orgs.values()), return_exceptions=True
        )
        for error in filter(None, closed):
            log.warning("an org could not be closed: %s", type(error).__name__)
