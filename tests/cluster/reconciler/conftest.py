"""A state repository, an org's namespace in a real API server, and a reconciler between them."""

from __future__ import annotations

import asyncio
import itertools
import json
import posixpath
import shutil
import subprocess
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.reconciler.api_proxy import ApiProxy, proxied

from guildnet import labels, schema
from guildnet.errors import KubeError
from guildnet.kube import AGENT_TASKS, KubeClient
from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.settings import Settings

_numbers = itertools.count(1)
DEADLINE_SECONDS = 20.0


def org_file(name: str = "acme", *, namespace: str, more: str = "") -> str:
    return textwrap.dedent(
        f"""\
        apiVersion: guildnet.io/v1alpha1
        kind: Org
        metadata: {{name: {name}}}
        spec:
          cluster: {{kubeconfig: {name}, namespace: {namespace}}}
          agent: {{preset: shell, command: [sh, -c, "true"]}}
        """
    ) + textwrap.indent(textwrap.dedent(more), "  ")


def task_file(name: str, prompt: str = "do it", more: str = "") -> str:
    return textwrap.dedent(
        f"""\
        apiVersion: guildnet.io/v1alpha1
        kind: Task
        metadata: {{name: {name}}}
        spec:
          prompt: {prompt}
        """
    ) + textwrap.indent(textwrap.dedent(more), "  ")


@dataclass
class StateRepository:
    """A bare remote, and a work tree that commits and pushes to it."""

    remote: Path
    work: Path

    def git(self, *args: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(at or self.work), *args], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str | None], message: str = "change") -> str:
        """Write (None: delete) the files, commit and push; the commit's id."""
        for path, content in files.items():
            file = self.work / path
            if content is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def made(self, entries: str) -> str:
        """The id of the tree that `git mktree` makes of the lines `entries`."""
        command = ["git", "-C", str(self.work), "mktree"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, input=entries)
        return done.stdout.strip()

    def status(self, path: str) -> Any:
        """A JSON file of the status branch, None where there is none."""
        try:
            return json.loads(self.git("show", f"status:{path}", at=self.remote))
        except subprocess.CalledProcessError:
            return None


@dataclass
class Site:
    """One org's surroundings. `run` gives a reconciler that runs until the block ends."""

    repo: StateRepository
    client: KubeClient
    namespace: str
    settings: Settings
    requests: list[tuple[str, int]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        """The one that the reconciler uses for the org."""
        return self.settings.state_dir / "kube" / "acme.config"

    @asynccontextmanager
    async def behind_a_proxy(self) -> AsyncIterator[ApiProxy]:
        """The reconcilers of the block reach the API server through a proxy."""
        own = self.kubeconfig.read_text()
        async with proxied(own) as (proxy, kubeconfig):
            self.kubeconfig.write_text(kubeconfig)
            try:
                yield proxy
            finally:
                self.kubeconfig.write_text(own)

    @asynccontextmanager
    async def run(self, **changes: Any) -> AsyncIterator[ReconcilerService]:
        reconciler = ReconcilerService(replace(self.settings, **changes))
        try:
            await reconciler.open_status()
            reconciler.start(triggers=True)
            yield reconciler
        finally:
            await reconciler.close()

    async def task(self, name: str) -> dict[str, Any] | None:
        return await self.client.find(AGENT_TASKS, name)

    async def names(self) -> set[str]:
        return {obj["metadata"]["name"] for obj in await self.client.list_all(AGENT_TASKS)}

    async def report(self, name: str, result: str = "TaskSucceeded", **status: Any) -> None:
        """Say, as the operator would, that the AgentTask's run is over."""
        obj = await self.client.get(AGENT_TASKS, name)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        generation = obj["metadata"]["generation"]
        succeeded = "True" if result == "TaskSucceeded" else "False"
        conditions = [
            {"type": kind, "status": value, "reason": result, "message": "",
             "observedGeneration": generation, "lastTransitionTime": now}
            for kind, value in (("Succeeded", succeeded), ("Finished", "True"))
        ]  # fmt: skip
        reported = {
            "run": obj["spec"]["run"], "attempt": 1, "start": 1, "finishedAt": now,
            "conditions": conditions, **status,
        }  # fmt: skip
        await self.client.patch(AGENT_TASKS, name, {"status": reported}, subresource="status")

    async def begin(self, name: str) -> None:
        """Say, as the operator would, that the AgentTask's run has started."""
        obj = await self.client.get(AGENT_TASKS, name)
        reported = {"run": obj["spec"]["run"], "attempt": 1, "start": 1}
        await self.client.patch(AGENT_TASKS, name, {"status": reported}, subresource="status")

    async def until_task(
        self, name: str, holds: Callable[[Any], Any], what: str = ""
    ) -> dict[str, Any]:
        """The AgentTask (None while there is none), once `holds` of it."""

        async def look() -> Any:
            obj = await self.task(name)
            return [obj] if holds(obj) else None

        found = await eventually(look, what=what or f"AgentTask {name}")
        return found[0] or {}

    async def until_status(self, path: str, holds: Callable[[Any], Any]) -> dict[str, Any]:
        """The file of the status branch below the org's folder ({} while there is none), once
        `holds` of it."""

        async def look() -> Any:
            content = self.repo.status(posixpath.normpath(f"orgs/acme/{path}")) or {}
            return [content] if holds(content) else None

        found = await eventually(look, what=f"{path} on the status branch")
        return dict(found[0])

    async def until_org(self, holds: Callable[[Any], Any]) -> dict[str, Any]:
        return await self.until_status("org.json", holds)

    async def until_record(self, name: str, holds: Callable[[Any], Any]) -> dict[str, Any]:
        return await self.until_status(f"tasks/{name}/status.json", holds)


async def eventually(
    found: Callable[[], Awaitable[Any]], *, seconds: float = DEADLINE_SECONDS, what: str = ""
) -> Any:
    """The first true answer of `found`, within the deadline."""
    end = time.monotonic() + seconds
    answer = await found()
    while not answer:
        assert time.monotonic() < end, f"not within {seconds} s: {what or found}"
        await asyncio.sleep(0.05)
        answer = await found()
    return answer


@pytest.fixture
def acme(site: Site) -> dict[str, str | None]:
    """The files of an org with two tasks, `over` and `live`."""
    return {
        "orgs/acme.yaml": org_file(namespace=site.namespace),
        "tasks/acme/over.yaml": task_file("over"),
        "tasks/acme/live.yaml": task_file("live"),
    }


@pytest.fixture(scope="session")
def files() -> tuple[Callable[..., str], Callable[..., str]]:
    """Makers of an org's and of a task's file."""
    return org_file, task_file


@pytest.fixture
def repo(tmp_path: Path, own_surroundings: Path) -> StateRepository:
    remote, work = tmp_path / "remote.git", tmp_path / "work"
    for command in (["init", "-q", "--bare", "-b", "main", str(remote)],
                    ["clone", "-q", str(remote), str(work)]):  # fmt: skip
        subprocess.run(["git", *command], check=True, capture_output=True)
    subprocess.run(["git", "-C", str(work), "checkout", "-q", "-b", "main"], check=True)
    return StateRepository(remote, work)


async def ensure_crd(client: KubeClient) -> None:
    await client.apply(schema.crd(), field_manager="test")

    async def served() -> bool:
        try:
            await client.list_all(AGENT_TASKS)
        except KubeError:
            return False
        return True

    await eventually(served, what="the CRD is served")


@pytest.fixture
async def site(control_plane: Path, repo: StateRepository, tmp_path: Path) -> AsyncIterator[Site]:
    namespace = f"agents-{next(_numbers)}"
    state = tmp_path / "state"
    (state / "kube").mkdir(parents=True)
    shutil.copy(control_plane, state / "kube" / "acme.config")
    settings = Settings(
        repo=str(repo.remote),
        state_dir=state,
        listen=None,
        poll=timedelta(seconds=60),
        status_interval=timedelta(milliseconds=100),
        retry=timedelta(milliseconds=200),
        max_retry=timedelta(seconds=2),
    )
    async with KubeClient.from_kubeconfig(control_plane, namespace=namespace) as client:
        await ensure_crd(client)
        await client.ensure_namespace(namespace, {labels.APP_NAME: "test"})
        yield Site(repo, client, namespace, settings)
