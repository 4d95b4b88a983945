"""I3: an exception of any type, raised anywhere in one org's work, is that org's fault alone.

Which functions an org's work calls is recorded while it works; each of them is then made to raise
once, in the work of that org only. A step that is added later is covered by being called.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.reconciler.stand_in import (
    StandIn,
    org_file,
    standing_in,
    store_kubeconfig,
    task_file,
    until,
)

from guildnet.outcome import Done, Outcome
from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.org import connection, queue, reporter
from guildnet_reconciler.org.queue import OrgQueue
from guildnet_reconciler.org.reconciler import OrgReconciler
from guildnet_reconciler.org.state import Scope

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings

PRODUCT = tuple(str(Path(__file__).parents[3] / part) for part in ("core", "reconciler"))
WORKING_FOR: ContextVar[str] = ContextVar("working_for", default="")
# The firewall itself, and the loop that runs it.
FIREWALL = ("faults.py", "capacity/threads.py")
QUEUE_LOOP = ("OrgQueue.run",)
# An error of theirs means that the record is bad, until it is read again.
READERS_OF_RECORDS = (
    "_camel",
    "_check",
    "_from_json",
    "_read",
    "OrgRecord.from_json",
    "TaskRecord.from_json",
)


class Disaster(BaseException):
    """An exception that no code catches by its type."""


#: One kind after the other, created for each function.
ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError("bad"),
    lambda: RecursionError("too deep"),
    MemoryError,
    lambda: BaseExceptionGroup("several", [Disaster("one"), KeyError("two")]),
    lambda: Disaster("end of the world"),
    lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    asyncio.CancelledError,
    lambda: SystemExit(3),
)


@pytest.fixture
def org_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mark the tasks and threads that work for an org, and shorten the pauses after a defect."""
    run = OrgQueue.run

    async def marked(
        self: OrgQueue,
        org: OrgReconciler,
        revision: Callable[[], str | None],
        after: Callable[[], None],
    ) -> None:
        WORKING_FOR.set(self.name)
        await run(self, org, revision, after)

    monkeypatch.setattr(OrgQueue, "run", marked)
    monkeypatch.setattr(queue, "AFTER_DEFECT_SECONDS", 0.02)
    monkeypatch.setattr(connection, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(connection, "MAX_PAUSE_SECONDS", 0.05)


@dataclass
class Site:
    """A reconciler of two orgs, each with a cluster of its own."""

    reconciler: ReconcilerService
    remote: Remote
    clusters: dict[str, StandIn]

    def org(self, name: str) -> OrgReconciler:
        return self.reconciler.scheduler._orgs[name][0]

    def outcome(self, name: str) -> Outcome | None:
        return self.reconciler.scheduler._orgs[name][1].outcome

    def is_well(self, name: str) -> bool:
        if name not in self.reconciler.scheduler._orgs:
            return False
        org, queue = self.reconciler.scheduler._orgs[name]
        return queue.idle and isinstance(queue.outcome, Done) and not org.firewall.faults

    async def restart(self, name: str) -> None:
        """Start again with one org, as a new process does."""
        scheduler = self.reconciler.scheduler
        org, _ = scheduler._orgs.pop(name)
        task = scheduler._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(Exception):
            await org.close()
        self.clusters[name].objects = {
            p: o for p, o in self.clusters[name].objects.items() if "/leases/" not in p
        }
        scheduler._wake(name, Scope(full=True))

    def stir(self, name: str, number: int) -> None:
        """Cause a full pass and a report of the watch."""
        cluster = self.clusters[name]
        self.reconciler.scheduler._wake(name, Scope(full=True))
        for task in cluster.tasks(name):
            condition = {"type": "Ready", "status": "True", "reason": f"R{number}", "message": ""}
            cluster.report(name, task, {"run": 1, "phase": "Running", "conditions": [condition]})
            break

    def parts_that_ended(self) -> list[asyncio.Task[Any]]:
        scheduler = self.reconciler.scheduler
        tasks = [*self.reconciler._tasks, *scheduler._tasks.values()]
        return [task for task in tasks if task.done()]


@asynccontextmanager
async def at_work(remote: Remote, settings: Settings) -> AsyncIterator[Site]:
    async with standing_in("acme") as one, standing_in("globex") as two:
        clusters = {"acme": one, "globex": two}
        for name, cluster in clusters.items():
            store_kubeconfig(settings, name, cluster.url)
            remote.commit({f"orgs/{name}.yaml": org_file(name)})
            remote.commit({f"tasks/{name}/{task}.yaml": task_file(task) for task in ("a", "b")})
        quick = replace(
            settings,
            poll=timedelta(minutes=5),
            retry=timedelta(milliseconds=20),
            max_retry=timedelta(milliseconds=50),
            status_interval=timedelta(milliseconds=20),
        )
        reconciler = ReconcilerService(quick)
        await reconciler.open_status()
        reconciler.start(triggers=False)
        site = Site(reconciler, remote, clusters)
        try:
            await until(lambda: site.is_well("acme") and site.is_well("globex"))
            yield site
        finally:
            await reconciler.close()


# --- what is called -------------------------------------------------------------------------


@contextmanager
def calls_recorded() -> Iterator[set[CodeType]]:
    """The product's functions that run for acme while the block does, in all threads."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        is_new = event == "call" and code not in found and code.co_filename.startswith(PRODUCT)
        if is_new and WORKING_FOR.get() == "acme":
            found.add(code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def functions_of(codes: set[CodeType]) -> list[FunctionType]:
    found = {
        obj.__code__: obj
        for obj in gc.get_objects()
        if isinstance(obj, FunctionType) and obj.__code__ in codes
    }
    chosen = [
        function
        for code, function in found.items()
        # A closure is created at each call; the function that creates it is in the list.
        if not code.co_freevars
        and (not code.co_filename.endswith(FIREWALL) or code.co_qualname.startswith("Fault."))
        and code.co_qualname not in (*QUEUE_LOOP, *READERS_OF_RECORDS)
    ]
    return sorted(chosen, key=lambda function: (function.__module__, function.__qualname__))


class Saboteur:
    """Makes one function raise, in acme's work alone."""

    def __init__(self, function: FunctionType, error: BaseException) -> None:
        self.fired = 0
        self._function = function
        self._error = error
        self._kept = (function.__code__, function.__defaults__, function.__kwdefaults__)
        code, defaults, keyword = self._kept
        self._original = FunctionType(
            code, function.__globals__, function.__name__, defaults, function.__closure__
        )
        self._original.__kwdefaults__ = keyword

    def __enter__(self) -> Saboteur:
        scope: dict[str, Any] = {}
        exec("def stand_in(*args, **kwargs): return SABOTEUR(args, kwargs)", scope)
        self._function.__globals__["SABOTEUR"] = self._call
        self._function.__defaults__ = self._function.__kwdefaults__ = None
        self._function.__code__ = scope["stand_in"].__code__
        return self

    def __exit__(self, *_: object) -> None:
        code, defaults, keyword = self._kept
        self._function.__code__ = code
        self._function.__defaults__, self._function.__kwdefaults__ = defaults, keyword

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if WORKING_FOR.get() == "acme":
            self.fired += 1
            raise self._error
        return self._original(*args, **kwargs)


# --- the tests ------------------------------------------------------------------------------


# Code of git that is made to raise leaves its process to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_wherever_it_is_raised(
    remote: Remote, settings: Settings, org_contexts: None
) -> None:
    with calls_recorded() as codes:
        async with at_work(remote, settings) as site:
            site.stir("acme", 0)
            await asyncio.sleep(0.2)
            await until(lambda: site.is_well("acme"))
            await site.restart("acme")
            await until(lambda: site.is_well("acme"))
    targets = functions_of(codes)
    names = {target.__qualname__ for target in targets}
    assert names >= {
        "TaskPass.run",
        "apply_entries",
        "plan",
        "Claim.take",
        "OrgFile.load",
        "observe",
    }
    kinds = itertools.cycle(ERRORS)
    never_raised: list[str] = []
    stuck: list[str] = []
    async with at_work(remote, settings) as site:
        for number, target in enumerate(targets):
            where = f"{target.__module__}.{target.__qualname__}"
            with Saboteur(target, next(kinds)()) as saboteur:
                site.stir("acme", number)
                await _one_pass(site, saboteur)
                if not saboteur.fired:
                    await site.restart("acme")
                    await _one_pass(site, saboteur)
            if not saboteur.fired:
                never_raised.append(where)
            assert site.parts_that_ended() == [], where
            assert site.org("globex").firewall.faults == (), where
            try:
                await until(lambda: site.is_well("acme"), 12)
            except TimeoutError:
                stuck.append(f"{where}: {site.outcome('acme')} {site.org('acme').firewall.faults}")
                await site.restart("acme")
        remote.commit({"tasks/globex/c.yaml": task_file("c")})
        site.reconciler.scheduler.trigger()
        await until(lambda: "c" in site.clusters["globex"].tasks("globex"))
    gc.collect()
    assert stuck == [], "\n".join(stuck)
    assert len(never_raised) < len(targets) / 4, never_raised


async def _one_pass(site: Site, saboteur: Saboteur) -> None:
    """Wait for acme's pass and for the commit of its record, or until the error was raised."""
    with contextlib.suppress(TimeoutError):
        await until(lambda: saboteur.fired > 0 or site.is_well("acme"), 2)
    with contextlib.suppress(TimeoutError):
        await until(lambda: saboteur.fired > 0, 0.1)


async def test_it_is_visible_with_its_place_and_goes_again(
    remote: Remote, settings: Settings, org_contexts: None
) -> None:
    from guildnet_reconciler.org import task_pass

    async with at_work(remote, settings) as site:
        target = task_pass.TaskPass._plan_by_digests
        with Saboteur(target, ValueError("see https://joe:hunter2@git.example/x")):  # type: ignore[arg-type]
            site.stir("acme", 1)
            await until(lambda: bool(site.org("acme").firewall.faults))
            line = site.reconciler.readiness()[1]["org/acme"]
            assert "InternalError" in line
            await until(lambda: "InternalError" in str(remote.status("orgs/acme/org.json")))
            fault = remote.status("orgs/acme/org.json")["faults"][0]
            assert fault["message"].startswith("pass: ValueError: see https://git.example/x (")
            assert "hunter2" not in str(site.reconciler.readiness())
            exposition = site.reconciler.metrics.exposition().decode()
            assert 'guildnet_faults{org="acme"} 1.0' in exposition
            assert site.is_well("globex")
        await until(lambda: site.is_well("acme"))
        await until(lambda: "faults" not in remote.status("orgs/acme/org.json"))


async def test_reporting_an_org_never_ends_the_repository_pass(
    remote: Remote, settings: Settings, org_contexts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler asks every org for its report when the repository cannot be followed."""
    from guildnet_reconciler.steps.report import org_record as make

    def bad_for_acme(org: str, *more: Any, **parts: Any) -> Any:
        if org == "acme":
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return make(org, *more, **parts)

    async with at_work(remote, settings) as site:
        monkeypatch.setattr(reporter, "org_record", bad_for_acme)
        remote.git("update-ref", "-d", "refs/heads/main", at=remote.path)
        site.reconciler.scheduler.trigger()
        await until(lambda: "SourceBranchMissing" in str(remote.status("orgs/globex/org.json")))
        assert site.parts_that_ended() == []
        await until(lambda: "InternalError" in str(remote.status("orgs/acme/org.json")))
