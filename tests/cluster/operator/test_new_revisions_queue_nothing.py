"""ConfigMap `guildnet-org` changes with each revision of the source branch: only what the
operator needs of it is a reason to look at anything."""

from __future__ import annotations

from typing import Any

import pytest

from guildnet import labels
from guildnet.kube import CONFIG_MAPS
from guildnet_operator.reconcile import Reconciler


async def test_only_changed_settings_queue_every_task(
    org: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5"""
    looked: list[str] = []
    reconcile = Reconciler.reconcile

    async def counted(self: Reconciler, name: str) -> None:
        looked.append(name)
        await reconcile(self, name)

    monkeypatch.setattr(Reconciler, "reconcile", counted)
    await org.configure(limits={"maxActive": 1})
    await org.add("done", cancel=True)
    async with org.operated():
        await org.reaches("done", "Finished", "True", "Cancelled")
        await _passes(org, "first")
        before = looked.count("done")
        patch = {"data": {"attempted": "another revision"}}
        await org.admin.patch(CONFIG_MAPS, labels.ORG_CONFIG_MAP, patch, org.namespace)
        await _passes(org, "second")
        assert looked.count("done") == before
        await org.configure(limits={"maxActive": 2})
        await org.comes_to(lambda: _is_more(looked, before), "other settings have it looked at")
        await _passes(org, "third")
        assert looked.count("done") == before + 1


async def _passes(org: Any, name: str) -> None:
    """Everything queued before this task has been processed."""
    await org.add(name, cancel=True)
    await org.reaches(name, "Finished", "True", "Cancelled")


async def _is_more(looked: list[str], before: int) -> bool:
    return looked.count("done") > before
