"""A real kube-apiserver for every test of this tier: one for the session, without a node."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a control plane that lives as long as the session."""
    # Tests may point GUILDNET_STATE_DIR elsewhere; up and down must both see this one.
    state = tmp_path_factory.mktemp("control-plane")
    name = f"t-cp-{os.getpid()}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            kubeconfig = cluster.up(name, node=False, progress=progress_to()).kubeconfig
        yield kubeconfig
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            cluster.down(name)


@pytest.fixture(autouse=True)
async def connections_end_first() -> AsyncIterator[None]:
    """Wait for the last connections before the event loop closes.

    A TLS connection ends with an answer of the server. On a busy machine the loop of a test was
    closed before that, and the connection was reported as one that nobody closed.
    """
    yield
    loop: Any = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            # One file is the loop's own.
            while len(loop._selector.get_map()) > 1:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
    await asyncio.sleep(0)
