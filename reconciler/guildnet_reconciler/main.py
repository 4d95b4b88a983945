"""Wires the reconciler together and runs it until it is signalled, or for one pass."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from guildnet import json_log
from guildnet.errors import ConfigurationError, GitError
from guildnet.git import BranchWriter, Mirror, git_dir_of, stored_credentials
from guildnet.kube import KubeClient
from guildnet.outcome import Done, Outcome, Waiting
from guildnet.secret_files import FollowedSecret, read_secret
from guildnet.state_folder import lock_folder
from guildnet.tokens import kept_token, read_token
from guildnet_reconciler.capacity.shared import Capacity
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.org.first_start import any_cluster_remembers
from guildnet_reconciler.records.branch import StatusWriter
from guildnet_reconciler.scheduler import Scheduler
from guildnet_reconciler.server import Hooks, make_app, served
from guildnet_reconciler.settings import TOKEN_FILE, Settings
from guildnet_reconciler.source.commit_status import CommitMarker
from guildnet_reconciler.source.follow import Repository
from guildnet_reconciler.triggers import kubeconfig_files, local
from guildnet_reconciler.triggers.kubeconfig_secrets import KubeconfigSecrets
from guildnet_reconciler.triggers.peers import peers_of

log = logging.getLogger(__name__)

EXIT_DONE, EXIT_FAILED = 0, 1
LATENESS_WINDOW_SECONDS = 10
NOTIFY_SECONDS = 30
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter. With Python's default of 5 ms, the event loop waits
that long after each system call while threads validate files that are expensive to refuse."""


class ReconcilerService:
    """All parts of one reconciler: `start` runs them, `close` ends them in order."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError or KeyringUnusable for settings that cannot work."""
        self.settings = settings
        self.metrics = Metrics()
        # Two reconcilers in one state folder would each take the other's commits for pushed.
        self._folder = lock_folder(settings.state_dir, "reconciler")
        try:
            if settings.signatures is not None:
                settings.signatures.environment()
            credentials = stored_credentials(settings.credentials, settings.repo)
            self.mirror = Mirror.open(
                settings.repo, settings.mirror_path(), credentials=credentials
            )
        except BaseException:
            self._folder.close()
            raise
        self.capacity = Capacity(settings, self.metrics)
        writer = BranchWriter(self.mirror, settings.status_branch, identity=settings.identity)
        self.status = StatusWriter(self.mirror, writer, settings.status_interval)
        self.repository = Repository(settings, self.mirror)
        self.scheduler = Scheduler(
            settings,
            self.repository,
            self.status,
            self.metrics,
            capacity=self.capacity,
            on_settled=CommitMarker(settings).mark,
        )
        self.kubeconfig_secrets = (
            KubeconfigSecrets(KubeClient.from_incluster, settings.kubeconfig_folder)
            if settings.kubeconfig_secrets
            else None
        )
        self.opened: Outcome = Waiting("Starting", "reading the status branch")
        self.metrics.watch_disk(settings.state_dir)
        self.metrics.status_unpushed.set_function(lambda: self.status.unpushed_seconds)
        self.metrics.status_ok.set_function(lambda: self._status_problem() is None)
        self._tasks: list[asyncio.Task[Any]] = []
        self._beside: list[asyncio.Task[Any]] = []
        self._threads = ThreadPoolExecutor(16, "git")

    # --- starting ---------------------------------------------------------------------------

    async def open_status(self) -> None:
        """Read the status branch first: without its records nothing may be started."""
        for work in (self.capacity.loop_lag.run(), self.capacity.validation.workers.end_idle()):
            self._beside.append(asyncio.create_task(work))
        asyncio.get_running_loop().set_default_executor(self._threads)
        sys.setswitchinterval(SWITCH_SECONDS)
        if self.kubeconfig_secrets is not None:
            await self._open_kubeconfigs(self.kubeconfig_secrets)
        retry = self.settings.retry.total_seconds()
        while True:
            self.opened = await self._open_status()
            if isinstance(self.opened, Done):
                return
            log.error("status branch: %s", self.opened.message)
            if self.settings.once:
                return
            await asyncio.sleep(retry)
            retry = min(retry * 2, self.settings.max_retry.total_seconds())

    async def _open_kubeconfigs(self, secrets: KubeconfigSecrets) -> None:
        """Wait for the first list: an org without its kubeconfig would count as not configured."""
        self._spawn(secrets.run())
        listed = asyncio.create_task(secrets.wait_synced())
        try:
            await asyncio.wait([listed, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done():
                    task.result()
        finally:
            listed.cancel()

    async def _open_status(self) -> Outcome:
        try:
            return await self.status.open(
                init=self.settings.init_status, known_elsewhere=await self._is_remembered()
            )
        except GitError as error:  # the mirror cannot be read
            return Waiting(type(error).__name__, str(error))

    async def _is_remembered(self) -> bool:
        """Ask the clusters only if the state directory does not know a status branch, and the user
        has not asked for a new one."""
        if self.settings.init_status or self.status.is_known_here:
            return False
        return await any_cluster_remembers(self.settings, self.capacity, self.repository)

    def start(self, *, triggers: bool) -> None:
        """Start to make passes; with `triggers`, watch the refs of a local repository, too."""
        self._spawn(self.status.run())
        self._spawn(self.scheduler.run())
        folder = self.settings.kubeconfig_folder
        self._spawn(kubeconfig_files.watch(folder, self.scheduler.kubeconfigs_changed))
        git_dir = git_dir_of(self.settings.repo)
        if triggers and git_dir is not None:
            self._spawn(
                local.watch(
                    git_dir, self.scheduler.trigger, ignored_branch=self.settings.status_branch
                )
            )

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def failed(self) -> None:
        """Wait until a part that should run until `close` has failed, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    # --- closing ----------------------------------------------------------------------------

    async def close(self) -> None:
        """Release every Lease, push pending records, and end git."""
        if isinstance(self.opened, Done):
            # Commit before the Leases are released: these commits give way to the next holder's.
            with contextlib.suppress(GitError):
                await self.status.keep()
        for task in (*self._tasks, *self._beside):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._beside, return_exceptions=True)
        await self.capacity.leases.stop()
        if isinstance(self.opened, Done):
            await self.status.flush()
        # Threads of cancelled work may still read, and would start git again.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self.capacity.validation.close)
        await asyncio.to_thread(self.capacity.threads.close)
        await asyncio.to_thread(self.capacity.machine_threads.close)
        self.mirror.close()
        self._folder.close()

    # --- readiness -------------------------------------------------------------------------

    def readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether the repository is followed and the status branch written; and details by part."""
        details = {f"org/{name}": line for name, line in self.scheduler.summary().items()}
        outcome = self.repository.outcome
        problems: dict[str, str] = {}
        of_status = self._status_problem()
        if of_status is not None:
            problems["statusBranch"] = of_status
        if not isinstance(outcome, Done):
            problems["repository"] = f"{outcome.reason}: {outcome.message}"
        details |= self._lateness()
        if self.kubeconfig_secrets is not None and self.kubeconfig_secrets.problem is not None:
            details["kubeconfigs"] = self.kubeconfig_secrets.problem
        is_ready = not problems and self.repository.index is not None
        return is_ready, {**details, **problems}

    def _status_problem(self) -> str | None:
        """Why the status branch cannot be written; None if it can."""
        if not isinstance(self.opened, Done):
            return f"{self.opened.reason}: {self.opened.message}"
        if self.status.lost is not None:
            return self.status.lost.message
        return str(self.status.problem) if self.status.problem is not None else None

    def _lateness(self) -> dict[str, str]:
        """How late the event loops run, from 1 s on. It does not make the reconciler unready."""
        late = {
            "passes": self.capacity.loop_lag.within(LATENESS_WINDOW_SECONDS),
            "leases": self.capacity.leases.loop_lag.within(LATENESS_WINDOW_SECONDS),
        }
        return {
            f"lateness/{loop}": f"late by {seconds:.1f} of the last {LATENESS_WINDOW_SECONDS} s: "
            f"give the reconciler more CPU, or spread the orgs over shards"
            for loop, seconds in late.items()
            if seconds >= 1
        }

    async def settle(self) -> bool:
        """Wait for one pass over everything, recorded and pushed; return whether all is in sync."""
        try:
            async with asyncio.timeout(self.settings.once_deadline.total_seconds()):
                while self.scheduler.last is None or not self.scheduler.is_settled:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log.error(
                "the pass took longer than %s: see each org below", self.settings.once_deadline
            )
            for line in self.scheduler.summary().items():
                log.error("%s: %s", *line)
            return False
        await self._notified()
        pushed = await self.status.flush()
        for line in self.scheduler.summary().items():
            log.info("%s: %s", *line)
        return pushed and self.scheduler.is_clean

    async def _notified(self) -> None:
        """Give each receiver of a notification one try; the records list what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTIFY_SECONDS):
                while self.scheduler.is_notifying:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


async def run(settings: Settings) -> int:
    """Run until SIGINT or SIGTERM, or with `once` for one pass; the exit code.

    0 done; 1 when, after one pass, something is failed, held or quarantined. Raises
    ConfigurationError for settings that cannot work.
    """
    secret = webhook_secret(settings.webhook_secret_file)
    reconciler = ReconcilerService(settings)
    logger = logging.getLogger("guildnet_reconciler")
    json_log.log_to_stderr(logger, lambda: {"revision": reconciler.status.source_revision or None})
    if settings.once:
        return await _run_once(reconciler)
    async with _serving(reconciler, secret), _stopped_by_signal() as stopped:
        try:
            await _until(stopped, reconciler.open_status())
            if not stopped.is_set():
                reconciler.start(triggers=True)
                await _until(stopped, reconciler.failed())
        finally:
            await reconciler.close()
    return EXIT_DONE


async def _run_once(reconciler: ReconcilerService) -> int:
    try:
        await reconciler.open_status()
        if not isinstance(reconciler.opened, Done):
            return EXIT_FAILED
        reconciler.start(triggers=False)
        return EXIT_DONE if await reconciler.settle() else EXIT_FAILED
    finally:
        await reconciler.close()


async def _until(stopped: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends, raising its error, or until `stopped` is set."""
    task, stop = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    for waiting in (task, stop):
        if not waiting.done():
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
    if task.done() and not task.cancelled():
        task.result()


@asynccontextmanager
async def _stopped_by_signal() -> AsyncIterator[asyncio.Event]:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _serving(
    reconciler: ReconcilerService, secret: Callable[[], bytes]
) -> AsyncIterator[None]:
    settings, scheduler = reconciler.settings, reconciler.scheduler
    if settings.listen is None:
        yield
        return
    token = _token(settings)
    peers = peers_of(settings.peers, listen=settings.listen, secret=secret, token=token)
    hooks = Hooks(scheduler.trigger, scheduler.resync, reconciler.readiness, peers)
    app = make_app(hooks, reconciler.metrics, secret=secret, branch=settings.branch, token=token)
    try:
        async with served(app, settings.listen):
            yield
    finally:
        if peers is not None:
            await peers.close()


def _token(settings: Settings) -> Callable[[], str]:
    """The token of readers; the one in the state folder is what `guildnet sync` finds there."""
    if settings.token_file is not None:
        return FollowedSecret(settings.token_file, read_token)
    kept = kept_token(settings.state_dir / TOKEN_FILE)
    return lambda: kept


def webhook_secret(file: Path | None) -> Callable[[], bytes]:
    """The secret that signs webhooks, b"" without a file. Raises ConfigurationError for a file
    that is missing, unreadable or empty."""
    if file is None:
        return lambda: b""
    followed = FollowedSecret(file, _secret_in)
    return lambda: followed().encode()


def _secret_in(file: Path) -> str:
    secret = read_secret(file)
    if not secret:
        raise ConfigurationError(
            "the webhook secret is empty",
            place=str(file),
            cure="write the secret that the forge signs with into the file",
        )
    return secret
