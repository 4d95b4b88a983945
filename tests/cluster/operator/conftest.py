"""The operator against a real API server, each test in its own namespace.

There is no kubelet: `Node` writes pods' status as a kubelet does. Agents are
real HTTP servers on an address of this machine, so that the API server's own pod proxy carries
every request to them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from guildnet import labels, schema
from guildnet.agent_api.signing import (
    AUTH_HEADER,
    SIGNATURE_HEADER,
    NonceMemory,
    answer_signature,
    verify_request,
)
from guildnet.digest import canonical_json, sha256_hex
from guildnet.errors import KubeConflict
from guildnet.kube import AGENT_TASKS, PODS, SECRETS, KubeClient
from guildnet.kube.transport import RequestHook
from guildnet.units import rfc3339
from guildnet_operator import main
from guildnet_operator.agents import client as agent_client
from guildnet_operator.install import manifests, operator_name
from guildnet_operator.settings import Settings

State = dict[str, Any]
NOT_STARTED: State = {
    "run": 0, "attempt": 0, "start": 0, "step": "Waiting", "outcome": None, "failure": None,
    "startedAt": None, "finishedAt": None, "exitCode": None, "contexts": [], "branch": None,
    "commit": None, "published": None, "pullRequest": None, "lastRun": None, "artifacts": [],
    "rejectedArtifacts": [], "editor": {"serving": True}, "logTail": "",
}  # fmt: skip
SPEC: dict[str, Any] = {
    "prompt": "fix it",
    "run": 1,
    "agent": {"preset": "shell", "command": ["true"]},
    "editor": {"enabled": True, "afterFinished": "1h"},
    "timeout": "2h",
    "retries": 1,
}


async def until(holds: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until `holds` returns a true value; return it."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await holds()
                if found:
                    return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not in {seconds} s: {what}") from None


@dataclass
class Org:
    """A namespace as `org install` creates it, and what a test does in it."""

    kubeconfig: Path
    namespace: str
    admin: KubeClient
    settings: Settings
    requests: Counter[str] = field(default_factory=Counter)

    async def add(self, name: str, **spec: Any) -> dict[str, Any]:
        return await self.admin.create(
            {
                "apiVersion": labels.API_VERSION,
                "kind": labels.KIND_AGENT_TASK,
                "metadata": {
                    "name": name,
                    "namespace": self.namespace,
                    "labels": {labels.ORG: "acme"},
                },
                "spec": {**SPEC, **spec},
            }
        )

    async def edit(self, name: str, **spec: Any) -> None:
        await self.admin.patch(AGENT_TASKS, name, {"spec": spec}, self.namespace)

    async def status(self, name: str) -> dict[str, Any]:
        found = await self.admin.get(AGENT_TASKS, name, self.namespace)
        status: dict[str, Any] = found.get("status", {})
        return status

    async def condition(self, name: str, kind: str) -> tuple[str, str]:
        conditions = (await self.status(name)).get("conditions", ())
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == kind), ("", ""))

    async def reaches(self, name: str, kind: str, status: str, reason: str) -> dict[str, Any]:
        async def holds() -> bool:
            return await self.condition(name, kind) == (status, reason)

        try:
            await until(holds, f"{name}: {kind}={status}/{reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {await self.status(name)}") from None
        return await self.status(name)

    async def configure(self, **settings: Any) -> None:
        """The org's settings, as the reconciler writes them for the operator."""
        given = {"limits": {}, "mesh": {}, "egress": [], "suspend": False, **settings}
        metadata = {"name": labels.ORG_CONFIG_MAP, "namespace": self.namespace}
        data = {"org": "acme", "settings": json.dumps(given)}
        await self.admin.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
            field_manager="test",
        )

    async def comes_to(self, holds: Callable[[], Any], what: str) -> None:
        await until(holds, what)

    @asynccontextmanager
    async def operated(self) -> AsyncIterator[None]:
        """The running operator, with its service account's rights."""
        operator = asyncio.create_task(main.run(self.settings))
        try:
            yield
            assert not operator.done(), operator.result()
        finally:
            operator.cancel()
            with suppress(asyncio.CancelledError):
                await operator


@dataclass
class Node:
    """Simulates the kubelet and its agents."""

    org: Org
    address: str
    port: int = 0
    states: dict[str, State] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    nonces: NonceMemory = field(default_factory=NonceMemory)

    async def pod_of(self, task: str) -> dict[str, Any]:
        """Wait for the newest running pod of the task."""

        async def holds() -> Any:
            found = await self.org.admin.list_all(
                PODS, self.org.namespace, label_selector=f"{labels.TASK}={task}"
            )
            living = [
                pod
                for pod in found
                if "deletionTimestamp" not in pod["metadata"]
                and pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
            ]
            return living and living[0]

        pod: dict[str, Any] = await until(holds, f"a pod of {task}")
        return pod

    async def run_pod(self, task: str) -> str:
        """Bind the task's pod, and set its containers running and ready."""
        pod = await self.pod_of(task)
        name = pod["metadata"]["name"]
        ready = {"ready": True, "started": True, "restartCount": 0, "image": "i", "imageID": "i"}
        running = {"running": {"startedAt": pod["metadata"]["creationTimestamp"]}}
        status = {
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
            "initContainerStatuses": [{"name": "supervisor", "state": running, **ready}],
            "containerStatuses": [{"name": "work", "state": running, **ready}],
        }
        if "nodeName" not in pod["spec"]:
            await self._bind(name)
        await self.org.admin.patch(
            PODS, name, {"status": status}, self.org.namespace, subresource="status"
        )
        self.states.setdefault(name, dict(NOT_STARTED))
        return str(name)

    async def bind(self, task: str) -> None:
        """Show the task's pod as scheduled, before its node reports anything."""
        await self._bind((await self.pod_of(task))["metadata"]["name"])

    async def _bind(self, pod: str) -> None:
        # The client has no kind Binding: post to the pod's subresource.
        path = f"/api/v1/namespaces/{self.org.namespace}/pods/{pod}/binding"
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod, "namespace": self.org.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "fake-node"},
        }
        await self.org.admin._write("create", "POST", path, f"binding {pod}", body=body)

    async def gone(self, pod: str) -> None:
        """Show a pod as the kubelet reports it last; its agent does not answer any more."""
        self.states.pop(pod, None)
        path = f"/api/v1/namespaces/{self.org.namespace}/pods/{pod}"
        await self.org.admin._write("delete", "DELETE", path, pod, body={"gracePeriodSeconds": 0})

    async def run_to_success(self, task: str) -> str:
        """Run the task's pod until its agent succeeds; return the pod's name."""
        pod = await self.run_pod(task)
        await self.org.reaches(task, "Ready", "True", "AgentServing")
        self.show(
            pod,
            step="Finished",
            outcome="Succeeded",
            exitCode=0,
            startedAt=rfc3339(datetime.now(UTC) - timedelta(minutes=1)),
            finishedAt=rfc3339(datetime.now(UTC)),
            branch=f"guildnet/acme/{task}",
            published={"reason": "PullRequestOpened", "message": "https://git.example/1"},
            pullRequest={"url": "https://git.example/1", "number": 1, "state": "open"},
            lastRun={"run": 1, "attempt": 1, "exitCode": 0},
            logTail="done",
            artifacts=[
                {"name": name, "bytes": len(body), "sha256": sha256_hex(body)}
                for name, body in self.bodies.items()
            ],
        )
        await self.org.reaches(task, "Finished", "True", "TaskSucceeded")
        return pod

    def show(self, pod: str, **state: Any) -> None:
        self.states[pod] = {**self.states[pod], **state}

    async def serve(self, request: web.Request) -> web.Response:
        """The API of each agent, selected by the key that signs the request."""
        body = await request.read()
        for pod, state in self.states.items():
            key = await self._key(pod)
            with suppress(Exception):
                nonce = verify_request(
                    key, request.headers.get(AUTH_HEADER), request.method, request.path_qs, body,
                    self.nonces,
                )  # fmt: skip
                answer = await self._answer(request, pod, state, body)
                content = answer.body if isinstance(answer.body, bytes) else b""
                answer.headers[SIGNATURE_HEADER] = answer_signature(
                    key, nonce, answer.status, content
                )
                return answer
        return web.Response(status=401)

    async def _key(self, pod: str) -> bytes:
        name = pod.rsplit("-", 2)[0]
        secret = await self.org.admin.get(SECRETS, name, self.org.namespace)
        return bytes.fromhex(base64.b64decode(secret["data"]["api-key"]).decode())

    async def _answer(
        self, request: web.Request, pod: str, state: State, body: bytes
    ) -> web.Response:
        if request.method == "POST":
            given = json.loads(body)
            self.requests.append((pod, request.path, given))
            if request.path == "/start":
                triple = {name: given[name] for name in ("run", "attempt", "start")}
                state = {**NOT_STARTED, **triple, "step": "Running"}
            else:
                state = {**state, "step": "Stopped", "outcome": "Stopped"}
            self.states[pod] = state
            return web.Response(status=202, body=canonical_json(state))
        if request.path.startswith("/artifacts/"):
            return web.Response(body=self.bodies[request.path.rpartition("/")[2]])
        tag = f'"{sha256_hex(canonical_json(state))}"'
        for _ in range(20):
            if request.headers.get("If-None-Match") != tag:
                return web.Response(body=canonical_json(state), headers={"ETag": tag})
            await asyncio.sleep(0.1)
            state = self.states[pod]
            tag = f'"{sha256_hex(canonical_json(state))}"'
        return web.Response(status=304, headers={"ETag": tag})


@pytest.fixture
async def org(
    control_plane: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Org]:
    """A fresh namespace with the CRD, and an operator that has its service account's rights."""
    administrator = control_plane.read_text()  # noqa: ASYNC240
    namespace = f"op-{uuid.uuid4().hex[:8]}"
    async with KubeClient.from_kubeconfig(control_plane, namespace=namespace) as admin:
        objects = manifests(
            namespace=namespace,
            image="o",
            agent_image="o",
            work_image="w",
            mesh_image="m",
            org="acme",
        )
        for obj in [*objects[:-1], schema.crd()]:
            # All but its Deployment: the operator runs here.
            await admin.apply(obj, field_manager="test")
        made = Org(control_plane, namespace, admin, Settings(kubeconfig=control_plane))
        made.settings = replace(
            made.settings,
            kubeconfig=await account_kubeconfig(admin, administrator, tmp_path),
            namespace=namespace,
            holder=f"test-{namespace}",
        )

        def connect(settings: Settings, on_request: RequestHook) -> KubeClient:
            def hook(verb: str, status: int) -> None:
                made.requests.update([verb])
                on_request(verb, status)

            assert settings.kubeconfig is not None
            return KubeClient.from_kubeconfig(
                settings.kubeconfig,
                namespace=settings.namespace,
                on_request=hook,
            )

        monkeypatch.setattr(main, "connect", connect)
        await until(lambda: _crd_served(admin), "the CRD is served")
        yield made


async def _crd_served(admin: KubeClient) -> bool:
    with suppress(Exception):
        await admin.list_all(AGENT_TASKS)
        return True
    return False


async def account_kubeconfig(admin: KubeClient, kubeconfig: str, folder: Path) -> Path:
    """A kubeconfig with a token of the operator's service account, as its pod would have one."""
    accounts = f"/api/v1/namespaces/{labels.OPERATOR_NAMESPACE}/serviceaccounts"
    path = f"{accounts}/{operator_name(admin.namespace)}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await admin._write("create", "POST", path, "token", body=body)
    config = yaml.safe_load(kubeconfig)
    config["users"] = [
        {"name": user["name"], "user": {"token": answer["status"]["token"]}}
        for user in config["users"]
    ]
    made = folder / "account.kubeconfig"
    made.write_text(yaml.safe_dump(config))
    return made


@pytest.fixture
async def node(org: Org, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    async with simulated_node(org) as made:
        monkeypatch.setattr(agent_client, "AGENT_PORT", made.port)
        yield made


@asynccontextmanager
async def simulated_node(org: Org) -> AsyncIterator[Node]:
    """A node whose agents all serve at `Node.port`."""
    address = _own_address()
    made = Node(org, address)
    with suppress(KubeConflict):  # made by an earlier test; pods of no node are swept away
        spec = {"unschedulable": True}
        named = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fake-node"}}
        await org.admin.create({**named, "spec": spec})
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, address, 0)
    await site.start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


def _own_address() -> str:
    """An address of this machine that the API server will proxy to: not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address: str = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback, which the pod proxy refuses")
    return address


@pytest.fixture(autouse=True)
def _quiet_kopf() -> Iterator[None]:
    """kopf logs its own shutdown when it is cancelled; a failing test shows the rest."""
    logger = logging.getLogger("kopf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)
