"""An API server that accepts connections and never answers."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet import schema
from guildnet.errors import KubeError
from guildnet.kube import AGENT_TASKS, KubeClient
from guildnet_devcluster import cluster, processes
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.progress import progress_to

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]

NAMED_WITHIN_SECONDS = 10.0
AT_ONCE_SECONDS = 5.0


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process is paused, with its sockets open, until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def hung(site: Site) -> Iterator[tuple[Path, int]]:
    """The kubeconfig of a second control plane, and the pid of its API server."""
    name = f"t-hung-{os.getpid()}"
    try:
        kubeconfig = cluster.up(name, node=False, progress=progress_to()).kubeconfig
        found = {process.name: process.pid for process in processes.recorded(Layout.of(name))}
        yield kubeconfig, found["kube-apiserver"]
    finally:
        cluster.down(name)


@pytest.fixture
async def second(hung: tuple[Path, int], site: Site) -> AsyncIterator[KubeClient]:
    """A client of the second control plane, which is laid out for the org `hung`."""
    shutil.copy(hung[0], site.settings.state_dir / "kube" / "hung.config")
    async with KubeClient.from_kubeconfig(hung[0], namespace="agents") as client:
        await client.apply(schema.crd(), field_manager="test")
        await client.ensure_namespace("agents", {})
        await until_served(client)
        yield client


async def until_served(client: KubeClient) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            await client.list_all(AGENT_TASKS)
        except KubeError:
            assert time.monotonic() < end
        else:
            return


async def test_it_is_reported_in_time_delays_no_org_and_recovers(
    site: Site, files: Files, hung: tuple[Path, int], second: KubeClient
) -> None:
    """I3, I10."""
    org, task = files
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            "orgs/hung.yaml": org("hung", namespace="agents"),
            "tasks/acme/one.yaml": task("one"),
            "tasks/hung/one.yaml": task("one"),
        }
    )
    async with site.run():
        await site.until_task("one", bool)
        await site.until_status("../hung/tasks/one/status.json", bool)
        with stopped(hung[1]):
            began = time.monotonic()
            site.repo.commit(
                {"tasks/acme/two.yaml": task("two"), "tasks/hung/two.yaml": task("two")}
            )
            await site.until_task("two", bool)
            assert time.monotonic() - began < AT_ONCE_SECONDS
            reported = await site.until_status(
                "../hung/org.json", lambda org: not org.get("cluster", {}).get("reachable", True)
            )
            took = time.monotonic() - began
            assert took < NAMED_WITHIN_SECONDS, f"named after {took:.1f} s"
            assert "gave no answer" in reported["cluster"]["message"]
            assert reported["cluster"]["cure"]
            again = time.monotonic()
            site.repo.commit({"tasks/acme/three.yaml": task("three")})
            await site.until_task("three", bool)
            assert time.monotonic() - again < AT_ONCE_SECONDS
        await site.until_status("../hung/tasks/two/status.json", bool)
        found = await site.until_status(
            "../hung/org.json", lambda org: org["cluster"].get("reachable")
        )
        assert "faults" not in found
        assert await second.find(AGENT_TASKS, "two") is not None
