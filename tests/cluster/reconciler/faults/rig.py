"""A reconciler that is killed again and again, and what goes wrong around it meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.reconciler.api_proxy import ApiProxy
from tests.cluster.reconciler.conftest import Site

ROOT = Path(__file__).parents[4]
HOOK = """\
#!/bin/sh
read -r old new ref
if [ "$ref" != refs/heads/status ]; then exit 0; fi
if [ -e "$0.refuse" ]; then echo "a test refuses"; exit 1; fi
if [ -e "$0.cut" ]; then kill -9 $PPID; fi
"""
LIFETIME_SECONDS = 2.5
MOST_STEPS = 40


@dataclass
class Rig:
    """`trace` lists each round: the injected fault, and where the process was killed."""

    site: Site
    proxy: ApiProxy
    rng: random.Random
    folder: Path
    breeder: asyncio.subprocess.Process
    trace: list[str] = field(default_factory=list)
    notes: int = 0

    async def round(self, change: Callable[[], None]) -> str:
        """One life under one kind of trouble, and a `change` of git in it; what became of it."""
        trouble = self.rng.choice((_none, _api, _refused, _cut, _away, _rival))
        died_at = self.folder / "died-at"
        died_at.unlink(missing_ok=True)
        life = self.alive(die_at=self.rng.randint(1, MOST_STEPS))
        async with trouble(self), life as ended:
            if trouble is not _away:
                await asyncio.sleep(self.rng.uniform(0, 0.5))
                await asyncio.to_thread(change)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LIFETIME_SECONDS)
        where = died_at.read_text() if died_at.exists() else "in the middle of anything"
        self.trace.append(f"{trouble.__name__.strip('_')}: killed {where}")
        return self.trace[-1]

    @asynccontextmanager
    async def alive(self, *, die_at: int = 0) -> AsyncIterator[asyncio.Event]:
        """A reconciler, killed when the block ends; the event is set should it die before."""
        order = {
            "die_at": die_at,
            "died_at": str(self.folder / "died-at"),
            "log": str(self.folder / "log"),
            "repo": str(self.site.repo.remote),
            "state_dir": str(self.site.settings.state_dir),
        }
        assert self.breeder.stdin is not None
        assert self.breeder.stdout is not None
        self.breeder.stdin.write(json.dumps(order).encode() + b"\n")
        pid = int(await self.breeder.stdout.readline())
        ended = asyncio.Event()
        waiting = asyncio.create_task(self._wait(ended))
        try:
            yield ended
        finally:
            if not ended.is_set():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await waiting

    async def _wait(self, ended: asyncio.Event) -> None:
        assert self.breeder.stdout is not None
        assert await self.breeder.stdout.readline() == b"ended\n"
        ended.set()


@asynccontextmanager
async def rigged(site: Site, proxy: ApiProxy, seed: int, folder: Path) -> AsyncIterator[Rig]:
    """A rig with a remote that remembers every move of its branches."""
    hook = site.repo.remote / "hooks" / "pre-receive"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    site.repo.git("config", "core.logAllRefUpdates", "always", at=site.repo.remote)
    module = "tests.cluster.reconciler.faults.doomed"
    breeder = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Rig(site, proxy, random.Random(f"rig {seed}"), folder, breeder)
    finally:
        assert breeder.stdin is not None
        breeder.stdin.close()
        await breeder.wait()


Trouble = Callable[[Rig], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _none(rig: Rig) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _api(rig: Rig) -> AsyncIterator[None]:
    """Bursts of refusals, of everything but the Lease."""
    verdicts = [rig.rng.choice((None, 409, 410, 429, 500)) for _ in range(30)]

    def judge(method: str, path: str) -> int | None:
        return verdicts.pop() if verdicts and "/leases" not in path else None

    rig.proxy.judge = judge
    try:
        yield
    finally:
        rig.proxy.judge = None


@asynccontextmanager
async def _hook(rig: Rig, word: str) -> AsyncIterator[None]:
    mark = rig.site.repo.remote / "hooks" / f"pre-receive.{word}"
    mark.touch()
    try:
        yield
    finally:
        mark.unlink()


def _refused(rig: Rig) -> AbstractAsyncContextManager[None]:
    """The forge takes no push."""
    return _hook(rig, "refuse")


def _cut(rig: Rig) -> AbstractAsyncContextManager[None]:
    """The forge dies in the middle of every push."""
    return _hook(rig, "cut")


@asynccontextmanager
async def _away(rig: Rig) -> AsyncIterator[None]:
    """The forge is down, and recovers while the reconciler runs."""
    remote = rig.site.repo.remote
    away = remote.rename(remote.with_suffix(".away"))

    async def come_back() -> None:
        await asyncio.sleep(rig.rng.uniform(0.2, 1.5))
        away.rename(remote)

    coming = asyncio.create_task(come_back())
    try:
        yield
    finally:
        await coming


@asynccontextmanager
async def _rival(rig: Rig) -> AsyncIterator[None]:
    """Another writer pushes to the status branch all the time, below another org."""

    # Stopped, not cancelled: a cancelled rival's thread would continue beside the next one's.
    is_over = False

    async def write() -> None:
        while not is_over:
            await asyncio.to_thread(push_note, rig)
            await asyncio.sleep(0.05)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        is_over = True
        await writing


def push_note(rig: Rig) -> None:
    """One more file on the status branch, unless another push was faster."""
    repo, path = rig.site.repo, f"orgs/globex/notes/{rig.notes}.txt"
    ref = "refs/rival/status"
    with suppress(subprocess.CalledProcessError):
        repo.git("fetch", "-q", "origin", f"+refs/heads/status:{ref}")
        commit = (
            f"commit {ref}\ncommitter A Rival <rival@example.com> 1000000000 +0000\n"
            f"data 5\nrival\nfrom {repo.git('rev-parse', ref)}\n"
            f"M 100644 inline {path}\ndata 1\nx\n"
        )
        subprocess.run(
            ["git", "-C", str(repo.work), "fast-import", "--quiet", "--force"],
            input=commit.encode(),
            check=True,
            capture_output=True,
        )
        repo.git("push", "-q", "origin", f"{ref}:refs/heads/status")
        rig.notes += 1
