"""Whether the watches have reported every object that existed when the operator started.

A decision made before that could start a second agent: the first one's pod might not be known yet.
kopf does not say when it has listed a kind, except to its own indexes, and these take time that
grows with the square of the number of objects: every object waits for all others, and wakes all
that wait. So each kind is listed once more, for the uids alone, and each reported uid is crossed
off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta

from guildnet.backoff import Backoff
from guildnet.errors import KubeError
from guildnet.kube import KubeClient, ResourceKind

logger = logging.getLogger(__name__)

RETRY = Backoff(timedelta(seconds=1), timedelta(seconds=30))
#: After so long without a report, list again: an object may be gone before a watch has seen it.
QUIET = Backoff(timedelta(seconds=5), timedelta(minutes=1))


class InitialList:
    """What of each kind the watches have yet to report."""

    def __init__(self, kinds: Collection[ResourceKind]) -> None:
        self._reported: dict[ResourceKind, set[str]] = {kind: set() for kind in kinds}
        # Of each kind that was listed: how many there were, and those that were not reported yet.
        self._listed: dict[ResourceKind, int] = {}
        self._missing: dict[ResourceKind, set[str]] = {}
        self._last_reported = asyncio.Event()
        self._complete = asyncio.Event()

    def reported(self, kind: ResourceKind, uid: str) -> None:
        """A watch reported this object, or its deletion."""
        if self._complete.is_set():
            return
        self._reported[kind].add(uid)
        missing = self._missing.get(kind)
        if missing is not None:
            missing.discard(uid)
            if not missing:
                self._last_reported.set()

    def missing(self) -> str:
        """What is still to come, for people; empty once everything was reported."""
        if self._complete.is_set():
            return ""
        parts = [
            f"{len(missing)} of {self._listed[kind]} {kind.plural}"
            for kind, missing in self._missing.items()
            if missing
        ]
        unlisted = [kind.plural for kind in self._reported if kind not in self._missing]
        if unlisted:
            parts.append(f"all {', '.join(unlisted)}")
        return f"waiting for the first report of {'; '.join(parts) or 'the watches'}"

    async def wait(self) -> None:
        """Wait until everything was reported."""
        await self._complete.wait()

    async def follow(self, client: KubeClient) -> None:
        """List all kinds, and return once the watches have reported everything. Errors of the API
        server are logged, and the request is repeated."""
        for kind in self._reported:
            failures, lists = 0, 0
            while True:
                try:
                    listed = await _uids(client, kind)
                except KubeError as error:
                    failures += 1
                    logger.warning("cannot list %s; trying again: %s", kind.plural, error)
                    await asyncio.sleep(RETRY.pause(failures).total_seconds())
                    continue
                failures, lists = 0, lists + 1
                self._listed[kind] = len(listed)
                self._missing[kind] = listed - self._reported[kind]
                if await self._all_reported(self._missing[kind], QUIET.pause(lists)):
                    break
        self._complete.set()
        logger.info("the watches have reported all objects: %s", self._summary())
        self._reported.clear()
        self._missing.clear()

    async def _all_reported(self, missing: set[str], quiet: timedelta) -> bool:
        """False if nothing is reported for `quiet`, although something is missing."""
        while missing:
            before = len(missing)
            self._last_reported.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(quiet.total_seconds()):
                    await self._last_reported.wait()
            if len(missing) == before:
                return False
        return True

    def _summary(self) -> str:
        return ", ".join(f"{number} {kind.plural}" for kind, number in self._listed.items())


async def _uids(client: KubeClient, kind: ResourceKind) -> set[str]:
    pages = client.list_pages(kind)
    return {item["metadata"]["uid"] async for page in pages for item in page["items"]}
