"""Fetches new commits, updates the read model, and publishes an event for each update."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import watchfiles

from guildnet.digest import sha256_hex
from guildnet.errors import GuildNetError
from guildnet.git import Mirror, git_dir_of
from guildnet.git.refs import remote_ref
from guildnet_dashboard.events import EventFeed
from guildnet_dashboard.read_model import ReadModel, Update
from guildnet_dashboard.snapshot import Snapshot

Value = TypeVar("Value")

log = logging.getLogger(__name__)

# Pages report a remote that does not answer for this long: failures are visible in 10 s (I10).
SLOW_AFTER = timedelta(seconds=8)

# Minimum interval between packing the mirror and indexing its history.
MAINTENANCE_INTERVAL = timedelta(minutes=1)

# An event that changed more orgs and tasks than this does not name them.
MAX_NAMED_CHANGES = 200


@dataclass(frozen=True, slots=True)
class Health:
    """Whether pages show the remote's newest commits. `ready` is False until the first read."""

    ready: bool = False
    fault: str = ""
    cure: str = ""


class Follower:
    """The only writer of the mirror and the read model."""

    def __init__(
        self, mirror: Mirror, model: ReadModel, *, branches: tuple[str, str], poll: timedelta
    ) -> None:
        """`branches` are the source branch and the status branch."""
        self._mirror = mirror
        self.model = model
        self._branches = branches
        self._poll = poll
        self._wake = asyncio.Event()
        self._maintenance: asyncio.Future[None] | None = None
        self._maintained_commit = ""
        self._next_maintenance = 0.0
        self.feed = EventFeed()
        self.health = Health()

    @property
    def revision(self) -> str:
        return revision_of(self.model.current, self.health)

    async def run(self) -> None:
        """Run until cancelled. A failure is shown on every page, and the fetch is retried."""
        await self._load()
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                self._wake.clear()
                await self._refresh()
                self._maintain_if_due()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._poll.total_seconds())
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _load(self) -> None:
        """Show what the mirror already holds, even while the remote is unreachable."""
        try:
            if update := await asyncio.to_thread(self.model.advance):
                self.health = Health(ready=True)
                await self.feed.publish("change", _change_event(update, self.revision))
        except Exception as error:
            log.warning("the mirror cannot be read and is fetched again: %s", error)

    async def _refresh(self) -> None:
        before = self.revision
        update: Update | None = None
        fetching = _in_daemon_thread(self._fetch_and_advance)
        try:
            await self._report_if_slow(fetching)
            fault, update = await fetching
            self.health = Health(ready=True, fault=fault)
        except GuildNetError as error:
            if error.message not in self.health.fault:
                log.warning("the repository cannot be read: %s", error)
            ready = self.health.ready
            self.health = Health(ready, f"{error.place}: {error.message}", error.cure or "")
        except Exception as error:
            log.exception("unexpected error while reading the repository")
            fault = f"{self._mirror.place}: unexpected {type(error).__name__}"
            self.health = Health(self.health.ready, fault, "See the dashboard's log for details.")
        if self.revision != before:
            await self.feed.publish("change", _change_event(update, self.revision))

    async def _report_if_slow(self, fetching: asyncio.Future[Any]) -> None:
        """Wait for a fetch; show a fault on every page if it takes longer than SLOW_AFTER."""
        done, _ = await asyncio.wait({fetching}, timeout=SLOW_AFTER.total_seconds())
        if done or self.health.fault:
            return
        fault = f"{self._mirror.place}: no answer for {SLOW_AFTER.seconds} s"
        self.health = Health(self.health.ready, fault, "The dashboard keeps waiting and retries.")
        await self.feed.publish("change", _change_event(None, self.revision))

    def _fetch_and_advance(self) -> tuple[str, Update | None]:
        """Fetch new commits and update the read model; return (fault or "", update)."""
        source, status = (remote_ref(branch) for branch in self._branches)
        remote = self._mirror.ls_remote([source, status])
        new = [
            branch
            for branch in self._branches
            if (tip := remote.get(remote_ref(branch))) and tip != self._mirror.resolve(branch)
        ]
        if new:
            self._mirror.fetch(new)
        update = self.model.advance()
        if source not in remote:
            return f"the repository has no branch {self._branches[0]}", update
        if status not in remote and self.model.current.status:
            return f"the branch {self._branches[1]} was deleted; pages show its last commit", update
        return "", update

    def _maintain_if_due(self) -> None:
        """Start packing and indexing the mirror in the background, if it has new commits."""
        tip, now = self.model.current.status, time.monotonic()
        is_running = self._maintenance is not None and not self._maintenance.done()
        if is_running or tip == self._maintained_commit or now < self._next_maintenance:
            return
        self._maintained_commit = tip
        self._next_maintenance = now + MAINTENANCE_INTERVAL.total_seconds()
        self._maintenance = _in_daemon_thread(self._maintain)
        self._maintenance.add_done_callback(_log_failed_maintenance)

    def _maintain(self) -> None:
        self._mirror.maintain()
        self._mirror.index_history()

    async def _watch(self) -> None:
        """Refresh at once when the refs of a repository on this machine change."""
        folder = git_dir_of(self._mirror.url)
        if folder is None:
            return
        try:
            async for _ in watchfiles.awatch(folder / "refs", debounce=400, step=20):
                self._wake.set()
        except (OSError, RuntimeError) as error:
            log.warning("%s cannot be watched and is only polled: %s", folder, error)


def _in_daemon_thread(work: Callable[[], Value]) -> asyncio.Future[Value]:
    """Run `work` in a daemon thread.

    The event loop waits for its executor's threads at shutdown, so a hanging remote would delay
    it; a daemon thread does not.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Value] = loop.create_future()

    def settle(result: Value | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(Value, result))

    def run() -> None:
        result: Value | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed: the result is no longer needed
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=work.__name__, daemon=True).start()
    return future


def _log_failed_maintenance(maintenance: asyncio.Future[None]) -> None:
    if not maintenance.cancelled() and (error := maintenance.exception()):
        log.warning("the mirror was not packed and indexed, so reads are slower: %s", error)


def revision_of(snapshot: Snapshot, health: Health) -> str:
    """A string that changes whenever the content of any page may change."""
    suffix = "-" + sha256_hex(health.fault.encode())[:8] if health.fault else ""
    return (snapshot.revision if health.ready else "loading") + suffix


def _change_event(update: Update | None, revision: str) -> dict[str, Any]:
    """The data of a `change` event. `places` is None if any page may have changed."""
    if update is None:
        return {"revision": revision, "places": None}
    places = sorted(org if task is None else f"{org}/{task}" for org, task in update.changed)
    is_first = not (update.before.status or update.before.source)
    return {
        "revision": revision,
        "status": update.after.status,
        "source": update.after.source,
        "places": None if is_first or len(places) > MAX_NAMED_CHANGES else places,
    }
