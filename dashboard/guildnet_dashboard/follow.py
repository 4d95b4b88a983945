"""Keeps the read model at the remote's newest commits, and tells who listens."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import watchfiles

from guildnet.digest import sha256_hex
from guildnet.errors import GuildNetError
from guildnet.git import Mirror, git_dir_of
from guildnet_dashboard.snapshot import Snapshot
from guildnet_dashboard.view import Move, ReadModel

log = logging.getLogger(__name__)

Value = TypeVar("Value")

# How long the remote may be silent before the pages say so: a failure is told within 10 s (I10).
PATIENCE = timedelta(seconds=8)

# A page needs to know what changed, not each of ten thousand tasks by name.
MAX_PLACES = 200


@dataclass(frozen=True, slots=True)
class Health:
    """Whether what is shown is what the remote has. `ready` False: nothing was read yet."""

    ready: bool = False
    fault: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One event for listeners; `serial` orders them within this process."""

    serial: int
    kind: str
    data: Mapping[str, Any]


class Feed:
    """Notices to any number of listeners, none of which can slow another or fill memory."""

    def __init__(self, kept: int = 64) -> None:
        self._notices: deque[Notice] = deque(maxlen=kept)
        self._changed = asyncio.Condition()
        self.serial = 0
        self.closed = False

    async def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        async with self._changed:
            self.serial += 1
            self._notices.append(Notice(self.serial, kind, data))
            self._changed.notify_all()

    async def close(self) -> None:
        """End every listener's wait, for good."""
        async with self._changed:
            self.closed = True
            self._changed.notify_all()

    async def after(self, serial: int) -> list[Notice] | None:
        """Notices later than `serial`, waiting for one; None where some were already dropped.

        [] once the feed is closed.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed or self.serial > serial)
            if self.closed:
                return []
            if self._notices[0].serial > serial + 1:
                return None
            return [notice for notice in self._notices if notice.serial > serial]


class Follower:
    """The only one who fetches and moves the model on."""

    def __init__(
        self, mirror: Mirror, model: ReadModel, *, branches: tuple[str, str], poll: timedelta
    ) -> None:
        """`branches` are the source branch and the status branch."""
        self._mirror = mirror
        self._model = model
        self._branches = branches
        self._poll = poll
        self._wake = asyncio.Event()
        self.feed = Feed()
        self.health = Health()

    @property
    def shown(self) -> Snapshot:
        """What is shown now."""
        return self._model.current

    @property
    def revision(self) -> str:
        return revision_of(self._model.current, self.health)

    async def run(self) -> None:
        """Follow until cancelled. Whatever fails is shown on every page and tried again."""
        await self._load()
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                self._wake.clear()
                await self._pass()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._poll.total_seconds())
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _load(self) -> None:
        """Show what the mirror still has from last time, even when the remote is away."""
        try:
            if move := await asyncio.to_thread(self._model.advance):
                self.health = Health(ready=True)
                await self.feed.publish("change", _told(move, self.revision))
        except Exception as error:
            log.warning("the mirror cannot be read, fetching anew: %s", error)

    async def _pass(self) -> None:
        before = self.revision
        move: Move | None = None
        refreshing = _in_daemon_thread(self._refresh)
        try:
            await self._be_patient(refreshing)
            fault, move = await refreshing
            self.health = Health(ready=True, fault=fault)
        except GuildNetError as error:
            if error.message not in self.health.fault:
                log.warning("the repository cannot be read: %s", error)
            ready = self.health.ready
            self.health = Health(ready, f"{error.place}: {error.message}", error.cure or "")
        except Exception as error:
            log.exception("the repository was not understood")
            fault = f"{self._mirror.place}: not understood ({type(error).__name__})"
            self.health = Health(self.health.ready, fault, "The dashboard's log says more.")
        if self.revision != before:
            await self.feed.publish("change", _told(move, self.revision))

    async def _be_patient(self, refreshing: asyncio.Future[Any]) -> None:
        """Wait for a refresh, and say so once it takes longer than a person should wonder."""
        done, _ = await asyncio.wait({refreshing}, timeout=PATIENCE.total_seconds())
        if done or self.health.fault:
            return
        fault = f"{self._mirror.place}: no answer for {PATIENCE.seconds} s"
        self.health = Health(self.health.ready, fault, "It is waited for, and then tried again.")
        await self.feed.publish("change", _told(None, self.revision))

    def _refresh(self) -> tuple[str, Move | None]:
        """Fetch what is new, move on; (what the remote lacks that it should have, the move)."""
        source, status = (_ref(branch) for branch in self._branches)
        remote = self._mirror.ls_remote([source, status])
        new = [
            branch
            for branch in self._branches
            if (tip := remote.get(_ref(branch))) and tip != self._mirror.resolve(branch)
        ]
        if new:
            self._mirror.fetch(new)
        move = self._model.advance()
        if source not in remote:
            return f"the repository has no branch {self._branches[0]}", move
        if status not in remote and self._model.current.status:
            return f"the branch {self._branches[1]} is gone; shown is what it held last", move
        return "", move

    async def _watch(self) -> None:
        """Wake at once when the refs of a repository on this machine change."""
        folder = git_dir_of(self._mirror.url)
        if folder is None:
            return
        try:
            async for _ in watchfiles.awatch(_refs(folder), debounce=400, step=20):
                self._wake.set()
        except (OSError, RuntimeError) as error:
            log.warning("%s cannot be watched, only polled: %s", folder, error)


def revision_of(snapshot: Snapshot, health: Health) -> str:
    """Changes whenever any page may read differently."""
    mark = "-" + sha256_hex(health.fault.encode())[:8] if health.fault else ""
    return (snapshot.revision if health.ready else "loading") + mark


def _refs(folder: Path) -> Path:
    return folder / "refs"


def _in_daemon_thread(work: Callable[[], Value]) -> asyncio.Future[Value]:
    """`work` in a thread that nobody waits for at the end: a remote that hangs must not hold up
    the shutdown, as the event loop's own threads would."""
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
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="refresh", daemon=True).start()
    return future


def _ref(branch: str) -> str:
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def _told(move: Move | None, revision: str) -> dict[str, Any]:
    """What a listener needs to decide whether its page is old. `places` None: anything may be."""
    if move is None:
        return {"revision": revision, "places": None}
    places = sorted(org if task is None else f"{org}/{task}" for org, task in move.places)
    first = not (move.before.status or move.before.source)
    return {
        "revision": revision,
        "status": move.after.status,
        "source": move.after.source,
        "places": None if first or len(places) > MAX_PLACES else places,
    }
