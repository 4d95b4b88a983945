"""A forge that does not answer: nothing changes, /ready reports it, and it recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.settings import Settings

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def is_measured(reconciler: ReconcilerService, line: str) -> bool:
    return line in reconciler.metrics.exposition().decode().splitlines()


async def test_it_is_told_where_git_is_not_needed_and_comes_back(
    remote: Remote, settings: Settings
) -> None:
    """I1, I10: the index stays; /ready and the metrics report the outage and the repository."""
    tip = remote.commit({"orgs/acme.yaml": "kind: Org\n"})
    poll = timedelta(milliseconds=50)
    reconciler = ReconcilerService(
        replace(settings, poll=poll, max_retry=timedelta(milliseconds=500))
    )
    try:
        await reconciler.open_status()
        reconciler.start(triggers=False)
        await until(lambda: reconciler.readiness()[0])
        assert is_measured(reconciler, "guildnet_repository_ok 1.0")

        away = remote.path.rename(remote.path.with_suffix(".away"))
        await until(lambda: not reconciler.readiness()[0])
        reported = reconciler.readiness()[1]["repository"]
        assert reported.startswith("GitUnavailable: ")
        assert str(remote.path) in reported
        assert is_measured(reconciler, "guildnet_repository_ok 0.0")
        assert reconciler.repository.index is not None
        assert reconciler.repository.index.revision == tip

        away.rename(remote.path)
        newer = remote.commit({"orgs/globex.yaml": "kind: Org\n"})
        await until(lambda: reconciler.readiness()[0])
        await until(lambda: reconciler.status.source_revision == newer)
        assert is_measured(reconciler, "guildnet_repository_ok 1.0")
    finally:
        await reconciler.close()
