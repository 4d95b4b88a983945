"""The environment of the benchmarks: a real API server, a local state repository, a bare client.

The bare client is the baseline: the same HTTP library, bytes and concurrency, one open watch, and
nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import yaml

from guildnet import labels, schema
from guildnet.errors import KubeError
from guildnet.kube import AGENT_TASKS, KubeClient
from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to
from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.settings import Settings

IN_FLIGHT = 32
PROMPT = (
    "Fix the login redirect loop: after signing in, users of the old tenant are sent back to the "
    "login page. Find out why, mend it, and add a regression test that fails without the change. "
)


@contextmanager
def api_server() -> Iterator[Path]:
    """Start a control plane and yield its kubeconfig; stop it afterwards."""
    state = tempfile.mkdtemp(prefix="guildnet-bench-")
    os.environ["GUILDNET_STATE_DIR"] = state
    name = f"bench-{os.getpid()}"
    try:
        yield cluster.up(name, node=False, progress=progress_to()).kubeconfig
    finally:
        cluster.down(name)
        shutil.rmtree(state, ignore_errors=True)


def org_file(namespace: str) -> str:
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: acme}}
spec:
  cluster: {{kubeconfig: acme, namespace: {namespace}}}
  agent: {{preset: shell, command: [sh, -c, "make test"], env: [{{name: CI, value: "1"}}]}}
"""


def task_file(name: str, prompt: str = PROMPT) -> str:
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {{name: {name}, labels: {{team: web}}}}
spec:
  prompt: "{prompt}"
  context:
    - {{name: web, git: {{url: https://git.example/acme/web.git, ref: main}}}}
  pullRequest: {{context: web, base: main, title: "Fix {name}"}}
  timeout: 2h
"""


class LocalRepository:
    """A state repository in a folder. Commits are prepared with plumbing commands, so that only the
    update of the ref is timed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Bench")
        self.git("config", "user.email", "bench@example.com")

    def git(self, *args: str, at: Path | None = None) -> str:
        command = ["git", "-C", str(at or self.path), *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def prepare(self, files: Mapping[str, str]) -> str:
        """Create a commit with these files on top of main, without updating main."""
        for path, content in files.items():
            file = self.path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        self.git("add", "--", *({path.split("/")[0] for path in files}))
        tree = self.git("write-tree")
        refs = self.git("for-each-ref", "refs/heads/main", "--format=%(objectname)")
        return self.git("commit-tree", tree, "-m", "change", *(["-p", refs] if refs else []))

    def publish(self, commit: str) -> float:
        """Point main to `commit`; return the time before that."""
        began = time.perf_counter()
        self.git("update-ref", "refs/heads/main", commit)
        return began


@asynccontextmanager
async def reconciler(
    kubeconfig: Path, repository: LocalRepository, state: Path
) -> AsyncIterator[ReconcilerService]:
    """Run a reconciler of the repository, as `guildnet reconciler` does."""
    (state / "kube").mkdir(parents=True, exist_ok=True)
    shutil.copy(kubeconfig, state / "kube" / "acme.config")
    running = ReconcilerService(
        Settings(
            repo=str(repository.path), state_dir=state, listen=None, in_flight=IN_FLIGHT,
            poll=timedelta(hours=1), holder="bench",
        )
    )  # fmt: skip
    try:
        await running.open_status()
        running.start(triggers=True)
        yield running
    finally:
        await running.close()


async def prepare_cluster(client: KubeClient, namespaces: Iterable[str]) -> None:
    """Install the CRD, create the namespaces, and wait until AgentTasks can be listed."""
    await client.apply(schema.crd(), field_manager="bench")
    for namespace in namespaces:
        await client.ensure_namespace(namespace, {labels.APP_NAME: "bench"})
    while True:
        try:
            await client.list_all(AGENT_TASKS, "default")
        except KubeError:
            await asyncio.sleep(0.1)
        else:
            return


def requests(running: ReconcilerService, verbs: Container[str] | None = None) -> int:
    """How many requests with these verbs (None: any) were sent to the API server."""
    return int(
        sum(
            sample.value
            for metric in running.metrics.api_requests.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and (verbs is None or sample.labels["verb"] in verbs)
        )
    )


async def until(holds: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until `holds()` is True; check every 2 ms."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@dataclass
class BareClient:
    """A client that uses only aiohttp."""

    session: aiohttp.ClientSession
    server: str

    @classmethod
    @asynccontextmanager
    async def open(cls, kubeconfig: Path) -> AsyncIterator[BareClient]:
        config = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
        target, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        tls = ssl.create_default_context(
            cadata=base64.b64decode(target["certificate-authority-data"]).decode()
        )
        with tempfile.NamedTemporaryFile() as pem:
            for key in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(user[key]))
            pem.flush()
            tls.load_cert_chain(pem.name)
        connector = aiohttp.TCPConnector(ssl=tls, limit=IN_FLIGHT + 1)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield cls(session, target["server"])

    async def apply_all(self, bodies: Mapping[str, bytes], namespace: str) -> float:
        """Apply every body (by name), IN_FLIGHT at once; return the seconds it took."""
        queue = list(bodies.items())
        headers = {"Content-Type": "application/apply-patch+yaml"}
        query = "fieldManager=guildnet-reconciler&force=true&fieldValidation=Strict"

        async def work() -> None:
            while queue:
                name, body = queue.pop()
                url = f"{self.server}{AGENT_TASKS.path(namespace, name)}?{query}"
                async with self.session.patch(url, data=body, headers=headers) as answer:
                    await answer.read()
                    answer.raise_for_status()

        watch = asyncio.create_task(self.watch(namespace, lambda event: None, parse=False))
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        took = time.perf_counter() - began
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        return took

    async def list_all(self, namespace: str, page_size: int) -> int:
        """List all objects page by page; return their number."""
        url = f"{self.server}{AGENT_TASKS.path(namespace)}?limit={page_size}"
        found, token = 0, ""
        while True:
            following = f"&continue={quote(token)}" if token else ""
            async with self.session.get(url + following) as answer:
                answer.raise_for_status()
                page = json.loads(await answer.read())
            found += len(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                return found

    async def watch(
        self, namespace: str, on_event: Callable[[Any], None], *, parse: bool = True
    ) -> None:
        """Hold one watch open and call `on_event` with every event."""
        url = f"{self.server}{AGENT_TASKS.path(namespace)}?watch=true"
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.session.get(url, timeout=timeout) as answer:
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines if parse else ():
                    on_event(json.loads(line))
