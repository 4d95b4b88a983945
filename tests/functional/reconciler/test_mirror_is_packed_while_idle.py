"""The mirror of a reconciler that runs for months stays small: packed when nothing is new."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from guildnet.git.mirror import MAX_PACKS
from guildnet.outcome import Done
from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.settings import Settings

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote


def leave_packs(reconciler: ReconcilerService, count: int) -> None:
    """What as many fetches would leave behind."""
    run = reconciler.mirror.commands.run
    target = str(reconciler.mirror.path / "objects" / "pack" / "pack")
    for number in range(count):
        blob = run("hash-object", "-w", "--stdin", stdin=b"%d" % number)
        run("pack-objects", "-q", target, stdin=blob)


def packs(mirror: Path) -> int:
    return len(list((mirror / "objects" / "pack").glob("*.pack")))


async def test_a_poll_with_nothing_new_packs_the_mirror(remote: Remote, settings: Settings) -> None:
    """I5: what a fetch costs does not grow with how many there were."""
    remote.commit({"README.md": "hello"})
    reconciler = ReconcilerService(replace(settings, poll=timedelta(milliseconds=50)))
    try:
        await reconciler.open_status()
        await asyncio.to_thread(leave_packs, reconciler, MAX_PACKS + 1)
        assert packs(reconciler.mirror.path) > MAX_PACKS
        reconciler.start(triggers=False)
        async with asyncio.timeout(20):
            while packs(reconciler.mirror.path) > MAX_PACKS:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        tip = remote.commit({"README.md": "hello again"})
        async with asyncio.timeout(20):
            while reconciler.status.source_revision != tip:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert reconciler.repository.outcome == Done()
    finally:
        await reconciler.close()
