"""List and watch against a real kube-apiserver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from guildnet.kube import CONFIG_MAPS, KubeClient, list_and_watch


def config_map(name: str, value: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"watched": "yes"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"value": value},
    }


async def test_existing_objects_and_then_changes_are_reported(
    open_client: Callable[..., KubeClient],
) -> None:
    """I5: after the first list, each change is reported once."""
    async with open_client() as client:
        for number in range(5):
            await client.create(config_map(f"n{number}", "old"))
        source = list_and_watch(
            client,
            CONFIG_MAPS,
            lambda obj: obj["data"]["value"],
            label_selector="watched=yes",
            page_size=2,
        )
        async with aclosing(source) as events, asyncio.timeout(30):
            before = [await anext(events) for _ in range(6)]
            assert [event.name for event in before[:5]] == [f"n{number}" for number in range(5)]
            assert before[5].type == "SYNCED"
            await client.apply(config_map("n1", "new"), field_manager="t")
            await client.create(config_map("n9", "made"))
            await client.delete(CONFIG_MAPS, "n2")
            after = [await anext(events) for _ in range(3)]
    assert [(event.type, event.name, event.value) for event in after] == [
        ("MODIFIED", "n1", "new"),
        ("ADDED", "n9", "made"),
        ("DELETED", "n2", "old"),
    ]
