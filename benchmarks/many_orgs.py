"""Many orgs on one API server: the first sync of all at once, changes in an idle org meanwhile, and
a restart of the reconciler. Measures memory, unanswered requests and lost Leases too."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import PROMPT, BareClient, prepare_cluster, task_file, until
from benchmarks.first_sync import names
from guildnet.digest import canonical_json
from guildnet.kube import KubeClient
from guildnet.loading import load_org, load_task
from guildnet.merge import RunRef, agent_task
from guildnet.resources import Source, org_path, task_path

QUIET = "quiet"
BARE = "bare"
QUIET_TASKS = 10
BARE_TASKS = 1000
CHANGE_EVERY_SECONDS = 0.5
REST_SECONDS = 20
"""How long to wait until idle connections have been closed."""


@dataclass(frozen=True)
class ManyOrgs:
    """Rates are objects per second, sizes MiB, times seconds. `unanswered` counts requests and
    `lost` Leases; `changes` are those of the idle org during the first sync."""

    orgs: int
    tasks: int
    done: int
    seconds: float
    bare: float
    peak: float
    rest: float
    empty: float
    unanswered: int
    lost: int
    changes: tuple[float, ...]
    restart_seconds: float
    restart_peak: float
    restart_writes: int

    @property
    def rate(self) -> float:
        return self.done / self.seconds

    @property
    def mib_an_org(self) -> float:
        """Memory per org when idle, minus 2 KiB per task."""
        return (self.rest - self.empty - self.orgs * self.tasks * 2 / 1024) / self.orgs


class Repository:
    """A bare state repository, written with `git fast-import`: 100,000 files in seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
        self._commits = 0

    def commit(self, files: Iterable[tuple[str, str]]) -> None:
        """Commit these files on top of main."""
        self._import(
            f"M 100644 inline {path}\ndata {len(content.encode())}\n{content}\n"
            for path, content in files
        )

    def _import(self, changes: Iterable[str]) -> None:
        self._commits += 1
        feed = "".join(self._stream(changes)).encode()
        command = ["git", "-C", str(self.path), "fast-import", "--quiet", "--force"]
        subprocess.run(command, input=feed, check=True)

    def commit_tree(self, path: str, tree: str) -> None:
        """Commit an existing tree object at `path`."""
        self._import([f"M 040000 {tree} {path}\n"])

    def remove(self, paths: Iterable[str]) -> None:
        """Commit the removal of these paths."""
        self._import([f"D {path}\n" for path in paths])

    def _stream(self, changes: Iterable[str]) -> Iterator[str]:
        stamp = f"Bench <bench@example.com> {1_700_000_000 + self._commits} +0000"
        yield f"commit refs/heads/main\ncommitter {stamp}\ndata 6\nchange\n"
        if self._commits > 1:
            yield "from refs/heads/main^0\n"
        yield from changes


def org_names(count: int) -> list[str]:
    return [f"org-{number:04d}" for number in range(count)]


def org_file(org: str) -> str:
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: {org}}}
spec:
  cluster: {{kubeconfig: {org}, namespace: {org}}}
  agent: {{preset: shell, command: [sh, -c, "make test"], env: [{{name: CI, value: "1"}}]}}
"""


@dataclass
class Process:
    """A reconciler process and the last report that it wrote."""

    process: asyncio.subprocess.Process
    last: dict[str, Any]

    @classmethod
    @asynccontextmanager
    async def started(cls, repository: Path, state: Path) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.reconciler_process",
            str(repository),
            str(state),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        made = cls(process, {})
        reading = asyncio.create_task(made._read())
        try:
            yield made
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(60):
                    await process.wait()
            except TimeoutError:
                process.kill()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.last = json.loads(line)

    def unanswered(self) -> int:
        answers: Mapping[str, int] = self.last.get("answers", {})
        # A watch counts as status 0 when it is closed at the end, but it was answered.
        return sum(n for key, n in answers.items() if key.endswith(" 0") and "watch" not in key)

    def writes(self) -> int:
        answers: Mapping[str, int] = self.last.get("answers", {})
        reads = ("get", "list", "watch")
        return sum(n for key, n in answers.items() if key.split()[0] not in reads)


async def many_orgs(
    kubeconfig: Path, folder: Path, orgs: int, tasks: int, *, limit_seconds: float = 1200
) -> ManyOrgs:
    """Run the benchmark in new namespaces and a new repository."""
    repository, state = Repository(folder / "repository.git"), folder / "state"
    all_orgs = [QUIET, *org_names(orgs)]
    grant(kubeconfig, state, all_orgs)
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        await prepare_cluster(client, [*all_orgs, BARE])
    bare = await _bare(kubeconfig)
    repository.commit(org_files(QUIET, QUIET_TASKS))
    async with (
        Process.started(repository.path, state) as running,
        BareClient.open(kubeconfig) as watcher,
    ):
        await until(lambda: running.last.get("recorded") == QUIET_TASKS, 60)
        await until(lambda: bool(running.last.get("settled")), 60)
        empty = running.last["rss"]
        total = orgs * tasks + QUIET_TASKS
        await asyncio.to_thread(
            repository.commit, (file for org in org_names(orgs) for file in org_files(org, tasks))
        )
        began = time.perf_counter()
        changing = asyncio.create_task(_changes(repository, watcher))
        with suppress(TimeoutError):
            await until(
                lambda: running.last["recorded"] >= total and running.last["orgs_ok"] > orgs,
                limit_seconds,
            )
        seconds = time.perf_counter() - began
        changing.cancel()
        changes = (await asyncio.gather(changing, return_exceptions=True))[0]
        done = running.last["recorded"] - QUIET_TASKS
        await asyncio.sleep(REST_SECONDS)
        first = dict(running.last)
        unanswered = running.unanswered()
    async with Process.started(repository.path, state) as again:
        with suppress(TimeoutError):
            await until(lambda: again.last.get("orgs_ok", 0) > orgs, limit_seconds / 4)
        restart = again.last["age"] if again.last.get("orgs_ok", 0) > orgs else float("inf")
        await asyncio.sleep(3)
        return ManyOrgs(
            orgs=orgs,
            tasks=tasks,
            done=done,
            seconds=seconds,
            bare=bare,
            peak=first["peak"],
            rest=first["rss"],
            empty=empty,
            unanswered=unanswered + again.unanswered(),
            lost=first["leases_lost"] + again.last["leases_lost"],
            changes=tuple(changes) if isinstance(changes, list) else (),
            restart_seconds=restart,
            restart_peak=again.last["peak"],
            restart_writes=again.writes(),
        )


def grant(kubeconfig: Path, state: Path, orgs: Iterable[str]) -> None:
    (state / "kube").mkdir(parents=True, exist_ok=True)
    for org in orgs:
        shutil.copy(kubeconfig, state / "kube" / f"{org}.config")


def org_files(org: str, tasks: int) -> Iterator[tuple[str, str]]:
    yield org_path(org), org_file(org)
    for name in names(tasks):
        yield task_path(org, name), task_file(name)


async def _bare(kubeconfig: Path) -> float:
    """The bare client's rate in objects per second."""
    org = load_org(org_file(BARE).encode(), Source(org_path(BARE), "0" * 40, "0" * 40))
    bodies = {}
    for name in names(BARE_TASKS):
        source = Source(task_path(BARE, name), "0" * 40, "0" * 40)
        task = load_task(task_file(name).encode(), source)
        bodies[name] = canonical_json(agent_task(org, task, RunRef(1)))
    async with BareClient.open(kubeconfig) as client:
        return BARE_TASKS / await client.apply_all(bodies, BARE)


async def _changes(repository: Repository, bare: BareClient) -> list[float]:
    """Seconds from each commit to the idle org's changed object, until cancelled."""
    seen: dict[str, float] = {}

    def on_event(event: dict[str, dict[str, dict[str, str]]]) -> None:
        seen.setdefault(event["object"]["spec"]["prompt"], time.perf_counter())

    watch = asyncio.create_task(bare.watch(QUIET, on_event))
    found: list[float] = []
    number = 0
    try:
        while True:
            await asyncio.sleep(CHANGE_EVERY_SECONDS)
            name, prompt = names(QUIET_TASKS)[number % QUIET_TASKS], f"{PROMPT} {number}"
            number += 1
            began = time.perf_counter()
            path, content = task_path(QUIET, name), task_file(name, prompt)
            await asyncio.to_thread(repository.commit, [(path, content)])
            await until(lambda prompt=prompt: prompt in seen, 60)  # type: ignore[misc]
            found.append(seen[prompt] - began)
    except (asyncio.CancelledError, TimeoutError):
        return found
    finally:
        watch.cancel()
