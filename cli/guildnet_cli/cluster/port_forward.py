"""A local port forwarded to an agent's editor by `kubectl port-forward`."""

from __future__ import annotations

import base64
import json
import queue
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from guildnet import kube, labels
from guildnet.conditions import EDITOR_READY, find
from guildnet.errors import GuildNetError, KubeUnavailable
from guildnet_cli.cluster.kubectl import kubectl_path
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.output import printable, say

READY_WITHIN_SECONDS = 30
_LISTENING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")
_PASSWORD_KEY = "editor-password"  # noqa: S105 - the key's name, not its value


@dataclass(frozen=True, slots=True)
class EditorTarget:
    """The Service and port to forward to, and the editor's password. `status` is `status.editor`
    of the AgentTask."""

    service: str
    port: int
    password: str = field(repr=False)
    status: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EditorAddress:
    """The local address of the editor, its address on the mesh if any, and its password if it is
    known."""

    address: str
    password: str = field(repr=False)
    mesh_address: str = ""

    def to_json(self) -> dict[str, str]:
        found = {
            "address": self.address,
            "password": self.password,
            "meshAddress": self.mesh_address,
        }
        return {name: value for name, value in found.items() if value}

    def to_line(self) -> str:
        """JSON on one line, for programs that read it while the command is running."""
        return json.dumps(self.to_json())

    def to_text(self) -> str:
        lines = (
            f"address:  {self.address}",
            f"password: {self.password}" if self.password else "",
            f"on the mesh: {self.mesh_address}" if self.mesh_address else "",
        )
        return "\n".join(filter(None, lines))


async def editor_of(cluster: OrgCluster, task: str) -> EditorTarget:
    """The editor of a task. Raises GuildNetError, with the reason, where it is not ready."""
    place = f"{cluster.org}/{task}"
    async with cluster.client() as client:
        found = await cluster.find_agent_task(client, task)
        if found is None:
            raise GuildNetError(
                "the cluster has no such AgentTask",
                place=place,
                cure=f"See its status with `guildnet status {place}`.",
            )
        status: dict[str, Any] = found.get("status", {})
        ready = find(status.get("conditions", ()), EDITOR_READY)
        if ready is None or ready["status"] != "True":
            reason = f"{ready['reason']}: {ready['message']}" if ready else "not started yet"
            raise GuildNetError(
                f"the editor is not ready: {printable(reason)}",
                place=place,
                cure=f"See its status with `guildnet status {place}`.",
            )
        child = labels.child_name(task, found["metadata"]["uid"])
        named = {"service": child, "port": labels.EDITOR_PORT, "secret": child}
        editor = {**named, **status.get("editor", {})}
        secret = await client.get(kube.SECRETS, editor["secret"], cluster.namespace)
    password = base64.b64decode(secret.get("data", {}).get(_PASSWORD_KEY, "")).decode()
    return EditorTarget(str(editor["service"]), int(editor["port"]), password, editor)


class Forward:
    """A forwarded port for the length of a `with` block; reconnects when the pod restarts."""

    def __init__(self, cluster: OrgCluster, target: EditorTarget, port: int) -> None:
        self._cluster, self._target = cluster, target
        self._process: subprocess.Popen[str] | None = None
        self.port = port

    def __enter__(self) -> Forward:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def serve(self) -> None:
        """Run until interrupted. A lost connection is restored on the same port."""
        try:
            while self._process is not None:
                self._process.wait()
                say("connection lost, reconnecting ...")
                self._reconnect()
        except KeyboardInterrupt:
            return

    def _reconnect(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            self._stop()
            try:
                return self._start()
            except KubeUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _start(self) -> None:
        cluster = self._cluster
        command = [kubectl_path(), "--kubeconfig", str(cluster.kubeconfig)]
        if cluster.context is not None:
            command += ["--context", cluster.context]
        command += ["--namespace", cluster.namespace, "port-forward", "--address", "127.0.0.1"]
        command += [f"service/{self._target.service}", f"{self.port or ''}:{self._target.port}"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.port = _await_port(self._process, f"{cluster.namespace}/{self._target.service}")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[str], place: str) -> int:
    """The port that kubectl reports. Raises KubeUnavailable, with kubectl's output, without one."""
    lines: queue.Queue[str | None] = queue.Queue(maxsize=100)
    threading.Thread(target=_drain, args=(process, lines), daemon=True).start()
    output: list[str] = []
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            break
        listening = _LISTENING.search(line)
        if listening:
            return int(listening[1])
        output.append(printable(line))
    raise KubeUnavailable(
        f"kubectl port-forward failed: {' '.join(output) or 'no output'}",
        place=place,
        cure="Check the cluster with `guildnet doctor`.",
    )


def _drain(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Read all output, so that kubectl never blocks on a full pipe; keep only the first lines."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if not lines.full():
                lines.put(line)
    if not lines.full():
        lines.put(None)
