"""How long a good org's commit takes to reach its AgentTask, beside a bad or hostile org."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bad_servers import Unwritable, hang, lie, serving
from benchmarks.environment import PROMPT, BareClient, prepare_cluster, task_file, until
from benchmarks.first_sync import names
from benchmarks.many_orgs import Process, Repository, grant, org_files
from benchmarks.one_change import percentile
from guildnet.kube import KubeClient
from guildnet.resources import task_path

GOOD, BAD = "good", "bad"
QUIET = "quiet"
CONTROL = "a good org that commits as often"
COMMITS = (CONTROL, "tree bomb", "64 expensive bad files")
GOOD_TASKS = 20
ARRIVAL_SECONDS = 0.3
ROUNDS = 2
"""Each kind is measured so often, and each time after a quiet phase of the same process."""
QUIET_SHARE = 0.4
BAD_FILES = 64
BAD_FILE_BYTES = 250_000
SERVERS: dict[str, Callable[[], Any]] = {
    "hanging API server": lambda: hang,
    "lying API server": lambda: lie,
    "unwritable record": Unwritable,
}


@dataclass
class Neighbour:
    """Milliseconds of each of the good org's changes, by what the bad org does meanwhile."""

    samples: dict[str, list[float]]

    def p99(self, kind: str) -> float:
        return percentile(self.samples[kind], 99) if self.samples[kind] else float("inf")

    def ratio(self, kind: str) -> float:
        return self.p99(kind) / self.p99(QUIET)


async def bad_neighbour(
    kubeconfig: Path, folder: Path, samples: int, kinds: Collection[str] = ()
) -> Neighbour:
    """Measure without a bad org and beside each kind of bad org, alternating: `samples` changes of
    each. `kinds` selects some; empty: all."""
    found: dict[str, list[float]] = {QUIET: []}
    for number in range(ROUNDS):
        for kind in (*COMMITS, *SERVERS):
            if kinds and kind not in kinds:
                continue
            place = folder / f"{number}-{[*COMMITS, *SERVERS].index(kind)}"
            quiet, bad = await _phases(kubeconfig, place, kind, samples // ROUNDS)
            found[QUIET] += quiet
            found[kind] = [*found.get(kind, ()), *bad]
    return Neighbour(found)


async def _phases(
    kubeconfig: Path, folder: Path, kind: str, samples: int
) -> tuple[list[float], list[float]]:
    """The changes of a quiet phase and of a bad one, with a new reconciler and repository."""
    repository, state = Repository(folder / "repository.git"), folder / "state"
    good, bad = (f"{name}-{folder.name}" for name in (GOOD, BAD))
    grant(kubeconfig, state, [good, bad])
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        await prepare_cluster(client, [good, bad])
    repository.commit([*org_files(good, GOOD_TASKS), *org_files(bad, 1)])
    async with (
        Process.started(repository.path, state) as running,
        BareClient.open(kubeconfig) as bare,
        AsyncExitStack() as servers,
    ):
        await until(lambda: running.last.get("recorded") == GOOD_TASKS + 1, 120)
        changes = Changes(repository, bare, good)
        await servers.enter_async_context(changes.watched())
        quiet = await changes.sampled(int(samples * QUIET_SHARE), lambda number: None)
        if kind in SERVERS:
            url = await servers.enter_async_context(serving(SERVERS[kind]()))
            other = f"other-{folder.name}"
            _grant_url(state, other, url)
            repository.commit(org_files(other, 20))
            step = _edits_of(repository, other)
        elif kind == CONTROL:
            step = _edits_of(repository, bad)
        else:
            step = _commits_of(repository, bad, kind)
        return quiet, await changes.sampled(samples, step)


class Changes:
    """Commits changes of the good org and watches when they reach its cluster."""

    def __init__(self, repository: Repository, bare: BareClient, org: str) -> None:
        self._repository = repository
        self._bare = bare
        self._org = org
        self._seen: dict[str, float] = {}
        self._number = 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        def on_event(event: dict[str, dict[str, dict[str, str]]]) -> None:
            self._seen.setdefault(event["object"]["spec"]["prompt"], time.perf_counter())

        watch = asyncio.create_task(self._bare.watch(self._org, on_event))
        await until(lambda: len(self._seen) > 0, 30)
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def sampled(self, count: int, before: Callable[[int], None]) -> list[float]:
        """Milliseconds of each change; one is committed every ARRIVAL_SECONDS, whether or not
        earlier ones have arrived. `before` is called before each and acts as the bad org."""
        began: dict[str, float] = {}
        due = time.perf_counter()
        for number in range(count):
            await asyncio.to_thread(before, number)
            await asyncio.sleep(due - time.perf_counter())
            prompt = self._commit_at(began)
            due = max(due + ARRIVAL_SECONDS, began[prompt])
            await asyncio.to_thread(self._repository.commit, self._change(prompt))
        with suppress(TimeoutError):
            await until(lambda: began.keys() <= self._seen.keys(), 60)
        ended = time.perf_counter()
        return [(self._seen.get(prompt, ended) - start) * 1000 for prompt, start in began.items()]

    def _commit_at(self, began: dict[str, float]) -> str:
        self._number += 1
        prompt = f"{PROMPT} {self._number}"
        began[prompt] = time.perf_counter()
        return prompt

    def _change(self, prompt: str) -> list[tuple[str, str]]:
        name = names(GOOD_TASKS)[self._number % GOOD_TASKS]
        return [(task_path(self._org, name), task_file(name, prompt))]


def _commits_of(repository: Repository, org: str, kind: str) -> Callable[[int], None]:
    """Every fifth time, a commit of the bad org."""

    def commit(number: int) -> None:
        if number % 5:
            return
        if kind == "tree bomb":
            repository.commit_tree(f"tasks/{org}/bomb{number}", _bomb(repository.path))
        else:
            repository.commit(_expensive(org, number))

    return commit


def _bomb(path: Path, width: int = 10, depth: int = 12) -> str:
    """A tree of 10^12 files in 13 objects."""
    git = ["git", "-C", str(path)]
    blob = subprocess.run(
        [*git, "hash-object", "-w", "--stdin"], input=b"x", capture_output=True, check=True
    )
    entry = f"100644 blob {blob.stdout.decode().strip()}"
    tree = ""
    for _ in range(depth):
        listing = "".join(f"{entry}\td{number}\n" for number in range(width))
        made = subprocess.run(
            [*git, "mktree"], input=listing.encode(), capture_output=True, check=True
        )
        tree = made.stdout.decode().strip()
        entry = f"040000 tree {tree}"
    return tree


def _expensive(org: str, number: int) -> Iterator[tuple[str, str]]:
    item = "  - {name: X, text: [1, {a: b}], extra: {}}\n"
    body = item * (BAD_FILE_BYTES // len(item))
    for file in range(BAD_FILES):
        head = task_file(f"bad-{file}", "p").split("\nspec:")[0]
        yield (
            task_path(org, f"bad-{file}"),
            f"{head}\nspec:\n  prompt: p{number}\n  context:\n{body}",
        )


def _edits_of(repository: Repository, org: str) -> Callable[[int], None]:
    def edit(number: int) -> None:
        name = names(20)[number % 20]
        repository.commit([(task_path(org, name), task_file(name, f"edit {number}"))])

    return edit


def _grant_url(state: Path, org: str, url: str) -> None:
    config = {
        "current-context": "bad",
        "contexts": [{"name": "bad", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (state / "kube" / f"{org}.config").write_text(json.dumps(config))
