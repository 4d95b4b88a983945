"""Keeps the read model at the remote's newest commits, and tells who listens."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import watchfiles

from guildnet.digest import sha256_hex
from guildnet.errors import GuildNetError
from guildnet.git import Mirror, git_dir_of
from guildnet_dashboard.daemon_thread import in_daemon_thread
from guildnet_dashboard.events import EventFeed
from guildnet_dashboard.read_model import ReadModel, Update
from guildnet_dashboard.snapshot import Snapshot

log = logging.getLogger(__name__)

# How long the remote may be silent before the pages say so: a failure is told within 10 s (I10).
PATIENCE = timedelta(seconds=8)

# How often the mirror is packed and its history indexed, where there are new commits.
UPKEEP = timedelta(minutes=1)

# A page needs to know what changed, not each of ten thousand tasks by name.
MAX_PLACES = 200


@dataclass(frozen=True, slots=True)
class Health:
    """Whether what is shown is what the remote has. `ready` False: nothing was read yet."""

    ready: bool = False
    fault: str = ""
    cure: str = ""


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
        self._keeping: asyncio.Future[None] | None = None
        self._kept = ""
        self._keep_again = 0.0
        self.feed = EventFeed()
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
                self._keep_up()
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
        move: Update | None = None
        refreshing = in_daemon_thread(self._refresh)
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

    def _refresh(self) -> tuple[str, Update | None]:
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

    def _keep_up(self) -> None:
        """Pack and index the mirror beside whatever comes next."""
        tip, now = self._model.current.status, time.monotonic()
        is_busy = self._keeping is not None and not self._keeping.done()
        if is_busy or tip == self._kept or now < self._keep_again:
            return
        self._kept, self._keep_again = tip, now + UPKEEP.total_seconds()
        self._keeping = in_daemon_thread(self._upkeep)
        self._keeping.add_done_callback(_report_upkeep)

    def _upkeep(self) -> None:
        self._mirror.maintain()
        self._mirror.index_history()

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


def _report_upkeep(keeping: asyncio.Future[None]) -> None:
    if not keeping.cancelled() and (error := keeping.exception()):
        log.warning("the mirror is slower than it could be: %s", error)


def revision_of(snapshot: Snapshot, health: Health) -> str:
    """Changes whenever any page may read differently."""
    mark = "-" + sha256_hex(health.fault.encode())[:8] if health.fault else ""
    return (snapshot.revision if health.ready else "loading") + mark


def _refs(folder: Path) -> Path:
    return folder / "refs"


def _ref(branch: str) -> str:
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def _told(move: Update | None, revision: str) -> dict[str, Any]:
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
