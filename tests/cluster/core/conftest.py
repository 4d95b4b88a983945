"""A separate namespace on the real API server for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from guildnet.kube import NAMESPACES, KubeClient


@pytest.fixture
async def namespace(control_plane: Path) -> AsyncIterator[str]:
    name = f"t-{uuid4().hex[:10]}"
    async with KubeClient.from_kubeconfig(control_plane) as client:
        await client.ensure_namespace(name, {"test": "yes"})
        yield name
        await client.delete(NAMESPACES, name)


@pytest.fixture
def open_client(control_plane: Path, namespace: str) -> Callable[..., KubeClient]:
    def make(**options: object) -> KubeClient:
        return KubeClient.from_kubeconfig(control_plane, namespace=namespace, **options)  # type: ignore[arg-type]

    return make
