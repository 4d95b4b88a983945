"""Two reconcilers as processes: one is paused and continued, the other killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from tests.cluster.reconciler.conftest import eventually

from guildnet import labels
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS, LEASES
from guildnet_devcluster.control_plane import free_ports

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
FAILOVER_SECONDS = 20.0
PATIENCE_SECONDS = 60.0


@dataclass
class Replica:
    process: subprocess.Popen[bytes]
    url: str

    async def summary(self) -> str:
        """What it says about the org; "" while it does not answer."""
        try:
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"{self.url}/ready", timeout=5)
        except httpx.HTTPError:
            return ""
        return str(answer.json().get("org/acme", ""))

    async def waits(self) -> bool:
        """Whether it has noticed that another replica holds the Lease."""
        return "LeaseHeld" in await self.summary()


@contextmanager
def replica(site: Site, folder: Path) -> Iterator[Replica]:
    """`guildnet reconciler` with a state folder of its own, until the block ends."""
    (folder / "kube").mkdir(parents=True)
    (folder / "kube" / "acme.config").write_bytes(site.kubeconfig.read_bytes())
    (port,) = free_ports(1)
    command = [str(Path(sys.executable).parent / "guildnet"), "reconciler"]
    options = ["--repo", str(site.repo.remote), "--listen", f"127.0.0.1:{port}", "--poll", "1s"]
    process = subprocess.Popen(
        [*command, *options],
        env={**os.environ, "GUILDNET_STATE_DIR": str(folder)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Replica(process, f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


async def state_of(site: Site) -> dict[str, Any]:
    """The versions of everything that a reconciler writes, but for the Lease."""
    tasks = await site.client.list_all(AGENT_TASKS)
    claim = await site.client.get(CONFIG_MAPS, labels.ORG_CONFIG_MAP)
    return {
        "status": site.repo.git("rev-parse", "status", at=site.repo.remote),
        "claim": claim["metadata"]["resourceVersion"],
        **{t["metadata"]["name"]: t["metadata"]["resourceVersion"] for t in tasks},
    }


async def until_quiet(site: Site) -> dict[str, Any]:
    """The state, once nothing has been written for two seconds."""
    before: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while before != (now := await state_of(site)):
            before = now
            await asyncio.sleep(2)
    return before


async def holder(site: Site) -> str:
    lease = await site.client.get(LEASES, labels.RECONCILER)
    return str(lease["spec"]["holderIdentity"])


async def taken_over(site: Site, by: Replica, task: str) -> None:
    """`by` holds the Lease and has applied `task`, in time."""
    began = time.monotonic()

    async def applied() -> bool:
        return f"-{by.process.pid}/" in await holder(site) and bool(await site.task(task))

    await eventually(applied, seconds=PATIENCE_SECONDS, what=f"{task} applied by another replica")
    took = time.monotonic() - began
    print(f"taken over after {took:.1f} s")
    assert took < FAILOVER_SECONDS


async def test_a_paused_leader_writes_nothing_and_a_killed_one_is_replaced(
    site: Site, files: Files, tmp_path: Path
) -> None:
    """I6, I7: whoever is paused, continued or killed, each record is written once."""
    org, task = files
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/one.yaml": task("one")}
    )
    with ExitStack() as stack:
        first = stack.enter_context(replica(site, tmp_path / "first"))
        await eventually(lambda: site.task("one"), seconds=PATIENCE_SECONDS, what="one")
        second = stack.enter_context(replica(site, tmp_path / "second"))
        await eventually(second.waits, seconds=PATIENCE_SECONDS, what="the second replica waits")

        # Paused with work under way: a result to record, a commit to apply.
        await site.report("one")
        first.process.send_signal(signal.SIGSTOP)
        site.repo.commit({"tasks/acme/two.yaml": task("two")})
        await taken_over(site, second, "two")
        await site.report("two", result="TaskFailed")
        record = await site.until_record("two", lambda found: found.get("result"))
        before = await until_quiet(site)
        first.process.send_signal(signal.SIGCONT)
        await eventually(first.waits, seconds=PATIENCE_SECONDS, what="the first replica waits")
        assert await until_quiet(site) == before
        assert f"-{second.process.pid}/" in await holder(site)
        assert site.repo.status("orgs/acme/tasks/two/status.json") == record
        assert site.repo.status("orgs/acme/tasks/one/status.json")["result"] == "TaskSucceeded"

        second.process.kill()
        site.repo.commit({"tasks/acme/three.yaml": task("three")})
        await taken_over(site, first, "three")
        assert site.repo.status("orgs/acme/tasks/two/status.json") == record
