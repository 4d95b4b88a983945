"""The control plane's processes: memory and CPU idle and with one large org, and how long a new
replica, with nothing but git and the kubeconfig, takes until it is ready and in sync.

python -m benchmarks.control_plane [--tasks 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.environment import LocalRepository, api_server, org_file, prepare_cluster, task_file
from guildnet.kube import KubeClient
from guildnet_devcluster.control_plane import free_ports

NAMESPACE = "agents"
IDLE_SECONDS = 10.0
DEADLINE_SECONDS = 1800.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Service:
    """One verb of `guildnet`, running; `url` is where it answers."""

    verb: str
    process: subprocess.Popen[bytes]
    url: str
    began: float

    def tree(self) -> list[int]:
        """The process and the processes that it started."""
        found, pending = [], [self.process.pid]
        while pending:
            pid = pending.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                pending += map(int, task.read_text().split())
        return found

    def memory(self) -> float:
        """MiB; pages that its processes share count once."""
        return sum(_share_of(pid) for pid in self.tree())

    def cpu(self) -> float:
        """CPU seconds so far."""
        return sum(_cpu_of(pid) for pid in self.tree())

    def answer(self, path: str) -> httpx.Response | None:
        try:
            return httpx.get(f"{self.url}{path}", timeout=10)
        except httpx.HTTPError:
            return None

    def until(self, holds: Callable[[httpx.Response], bool], path: str) -> float:
        """Seconds from its start until an answer holds."""
        end = time.monotonic() + DEADLINE_SECONDS
        while True:
            answer = self.answer(path)
            if answer is not None and holds(answer):
                return time.monotonic() - self.began
            assert time.monotonic() < end, f"{self.verb}: {answer and answer.text}"
            time.sleep(0.05)


def _share_of(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def running(verb: str, state: Path, *options: str, probes: str = "--listen") -> Iterator[Service]:
    (port,) = free_ports(1)
    listen = f"127.0.0.1:{port}"
    given = (probes, listen) if probes else ()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "guildnet"), verb, *options, *given],
        env={**os.environ, "GUILDNET_STATE_DIR": str(state), "GUILDNET_PROBES": listen},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Service(verb, process, f"http://{listen}", time.monotonic())
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_ok(answer: httpx.Response) -> bool:
    return answer.status_code == 200


def is_in_sync(answer: httpx.Response) -> bool:
    return bool(answer.json().get("org/acme") == "ok")


def is_idle(answer: httpx.Response) -> bool:
    """Whether the operator has done all that it knows of, after it has written something."""
    lines = answer.text.splitlines()
    wrote = any("api_requests_total" in line and '"patch"' in line for line in lines)
    return wrote and "guildnet_operator_keys 0.0" in lines


def report(what: str, services: list[Service]) -> None:
    """Print the memory of each, and its CPU over some idle seconds."""
    before = [service.cpu() for service in services]
    time.sleep(IDLE_SECONDS)
    for service, earlier in zip(services, before, strict=True):
        share = (service.cpu() - earlier) / IDLE_SECONDS * 1000
        print(f"{service.verb}, {what}: {service.memory():.0f} MiB, {share:.0f} mCPU idle")


def measure(kubeconfig: Path, folder: Path, tasks: int) -> None:
    repository = LocalRepository(folder / "repository")
    repository.publish(repository.prepare({"orgs/acme.yaml": org_file(NAMESPACE)}))
    repo = ("--repo", str(repository.path))

    def state(name: str) -> Path:
        kube = folder / name / "kube"
        kube.mkdir(parents=True)
        shutil.copy(kubeconfig, kube / "acme.config")
        return kube.parent

    cluster = ("--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE)
    with ExitStack() as stack:
        first = stack.enter_context(running("reconciler", state("first"), *repo))
        print(f"reconciler, no tasks: in sync after {first.until(is_in_sync, '/ready'):.1f} s")
        dashboard = stack.enter_context(running("dashboard", state("dashboard"), *repo))
        dashboard.until(is_ok, "/api/health")
        operator = stack.enter_context(running("operator", state("op"), *cluster, probes=""))
        operator.until(is_ok, "/readyz")
        report("no tasks", [first, dashboard, operator])
    # Suspended, because there is no node; the operator still reconciles each of them.
    names = [f"t{n:05}" for n in range(tasks)]
    files = {f"tasks/acme/{n}.yaml": f"{task_file(n)}  suspend: true\n" for n in names}
    repository.publish(repository.prepare(files))
    with running("reconciler", state("sync"), *repo) as sync:
        took = sync.until(is_in_sync, "/ready")
        print(f"reconciler: {tasks} tasks created and in sync after {took:.1f} s")
        _until_recorded(repository, tasks)
        report(f"{tasks} tasks", [sync])
    with running("reconciler", state("new"), *repo) as new:
        ready = new.until(is_ok, "/ready")
        synced = new.until(is_in_sync, "/ready")
        cpu = new.cpu()
        print(
            f"reconciler, a new replica of {tasks} tasks: ready after {ready:.1f} s, in sync after "
            f"{synced:.1f} s ({cpu:.1f} s of CPU)"
        )
        report(f"{tasks} tasks, new replica", [new])
        with running("operator", state("op-many"), *cluster, probes="") as operator:
            took = operator.until(is_idle, "/metrics")
            print(f"operator: {tasks} suspended tasks reported after {took:.1f} s")
            report(f"{tasks} suspended tasks", [operator])
    with running("dashboard", state("new-dashboard"), *repo) as dashboard:
        print(f"dashboard: ready after {dashboard.until(is_ok, '/api/health'):.1f} s")
        report(f"{tasks} tasks", [dashboard])


def _until_recorded(repository: LocalRepository, tasks: int) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while True:
        listed = repository.git("ls-tree", "-d", "--name-only", "status", "orgs/acme/tasks/")
        if len(listed.splitlines()) == tasks:
            return
        assert time.monotonic() < end
        time.sleep(1)


async def _prepare(kubeconfig: Path) -> None:
    async with KubeClient.from_kubeconfig(kubeconfig) as client:
        await prepare_cluster(client, [NAMESPACE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    tasks = parser.parse_args().tasks
    with api_server() as kubeconfig, tempfile.TemporaryDirectory() as folder:
        asyncio.run(_prepare(kubeconfig))
        measure(kubeconfig, Path(folder), tasks)
        print(f"load average: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
