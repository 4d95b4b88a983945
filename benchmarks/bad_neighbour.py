"""How long a good org's commit takes to reach its AgentTask, beside a bad or hostile org."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bad_servers import Unwritable, hang, lie, serving
from benchmarks.environment import PROMPT, BareClient, prepare_cluster, task_file, until
from benchmarks.first_sync import names
from benchmarks.many_orgs import Process, Repository, grant, org_files
from benchmarks.one_change import percentile
from guildnet.kube import KubeClient
from guildnet.resources import task_path

GOOD, BAD = "good", "bad"
GOOD_TASKS = 20
PAUSE_SECONDS = 0.2
BAD_FILES = 64
BAD_FILE_BYTES = 250_000


@dataclass(frozen=True)
class Neighbour:
    """Milliseconds of each of the good org's changes, by what the bad org does meanwhile."""

    samples: dict[str, tuple[float, ...]]

    def p99(self, kind: str) -> float:
        return percentile(self.samples[kind], 99) if self.samples[kind] else float("inf")

    def ratio(self, kind: str) -> float:
        return self.p99(kind) / self.p99("quiet")


async def bad_neighbour(kubeconfig: Path, folder: Path, samples: int) -> Neighbour:
    """Measure without a bad org, then beside each kind of bad org."""
    repository, state = Repository(folder / "repository.git"), folder / "state"
    grant(kubeconfig, state, [GOOD, BAD])
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        await prepare_cluster(client, [GOOD, BAD])
    repository.commit([*org_files(GOOD, GOOD_TASKS), *org_files(BAD, 1)])
    found: dict[str, tuple[float, ...]] = {}
    async with (
        Process.started(repository.path, state) as running,
        BareClient.open(kubeconfig) as bare,
        AsyncExitStack() as servers,
    ):
        await until(lambda: running.last.get("recorded") == GOOD_TASKS + 1, 120)
        changes = Changes(repository, bare)
        await servers.enter_async_context(changes.watched())
        found["quiet"] = await changes.sampled(samples, lambda number: None)
        for kind, step in _kinds(repository).items():
            found[kind] = await changes.sampled(samples, step)
            _restore(repository)
        for kind, handler in {
            "hanging API server": hang, "lying API server": lie, "unwritable record": Unwritable(),
        }.items():  # fmt: skip
            url = await servers.enter_async_context(serving(handler))
            name = kind.split()[0]
            _grant_url(state, name, url)
            repository.commit(org_files(name, 20))
            found[kind] = await changes.sampled(samples, _edits_of(repository, name))
    return Neighbour(found)


class Changes:
    """Commits changes of the good org and watches when they reach its cluster."""

    def __init__(self, repository: Repository, bare: BareClient) -> None:
        self._repository = repository
        self._bare = bare
        self._seen: dict[str, float] = {}
        self._number = 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        def on_event(event: dict[str, dict[str, dict[str, str]]]) -> None:
            self._seen.setdefault(event["object"]["spec"]["prompt"], time.perf_counter())

        watch = asyncio.create_task(self._bare.watch(GOOD, on_event))
        await until(lambda: len(self._seen) > 0, 30)
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def sampled(self, count: int, before: Callable[[int], None]) -> tuple[float, ...]:
        """Milliseconds of each change; `before` is called before each and acts as the bad org."""
        found = []
        for number in range(count):
            self._number += 1
            await asyncio.to_thread(before, number)
            prompt = f"{PROMPT} {self._number}"
            name = names(GOOD_TASKS)[self._number % GOOD_TASKS]
            files = [(task_path(GOOD, name), task_file(name, prompt))]
            began = time.perf_counter()
            await asyncio.to_thread(self._repository.commit, files)
            try:
                await until(lambda prompt=prompt: prompt in self._seen, 60)  # type: ignore[misc]
            except TimeoutError:
                self._seen[prompt] = began + 60
            found.append((self._seen[prompt] - began) * 1000)
            await asyncio.sleep(PAUSE_SECONDS)
        return tuple(found)


def _kinds(repository: Repository) -> dict[str, Callable[[int], None]]:
    def bomb(number: int) -> None:
        if number % 5 == 0:
            repository.commit_tree(f"tasks/{BAD}/bomb{number}", _bomb(repository.path))

    def expensive(number: int) -> None:
        if number % 5 == 0:
            repository.commit(_expensive(number))

    return {"tree bomb": bomb, "64 expensive bad files": expensive}


def _restore(repository: Repository) -> None:
    """Remove what the bad org has added."""
    repository.remove([f"tasks/{BAD}"])
    repository.commit(org_files(BAD, 1))


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


def _expensive(number: int) -> Iterator[tuple[str, str]]:
    item = "  - {name: X, text: [1, {a: b}], extra: {}}\n"
    body = item * (BAD_FILE_BYTES // len(item))
    for file in range(BAD_FILES):
        head = task_file(f"bad-{file}", "p").split("\nspec:")[0]
        yield (
            task_path(BAD, f"bad-{file}"),
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
