"""The resources for which the namespace's LimitRanges set containers' defaults and bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from guildnet.kube import LIMIT_RANGES, KubeClient

_FIELDS = ("default", "defaultRequest", "max", "min")


class LimitRanges:
    """Looked up again when the last answer is `keep` old; a failed lookup keeps that answer."""

    def __init__(self, client: KubeClient, keep: timedelta) -> None:
        self._client = client
        self._keep = keep.total_seconds()
        self._found: frozenset[str] = frozenset()
        self._look_again_at = 0.0
        self._lock = asyncio.Lock()

    async def resources(self) -> frozenset[str]:
        """Names of the resources, such as `memory`."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now >= self._look_again_at:
                self._look_again_at = now + self._keep
                # No answer of the API server may stop all AgentTasks.
                with suppress(Exception):
                    self._found = limit_range_resources(await self._client.list_all(LIMIT_RANGES))
        return self._found


def limit_range_resources(limit_ranges: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The resources that the LimitRanges set for containers. Pure."""
    items = [item for found in limit_ranges for item in _list(found, "limits")]
    of_containers = [item for item in items if item.get("type") == "Container"]
    return frozenset(
        str(name) for item in of_containers for field in _FIELDS for name in item.get(field) or ()
    )


def _list(found: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    items = (found.get("spec") or {}).get(field) or []
    return [item for item in items if isinstance(item, Mapping)]
