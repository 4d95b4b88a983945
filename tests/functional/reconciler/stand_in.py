"""An API server in memory: namespaces, ConfigMaps, Leases and AgentTasks, with apply and watch.

It answers as a real one does, as far as the reconciler asks, unless `lie` answers instead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from guildnet_reconciler.settings import Settings

Object = dict[str, Any]
Lie = Callable[[web.Request], "web.StreamResponse | None"]

PLURALS = ("agenttasks", "configmaps", "leases", "events", "namespaces")


def answer(body: Any, status: int = 200, **headers: str) -> web.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(
        body=data, status=status, headers={"Content-Type": "application/json", **named}
    )


def refusal(code: int, reason: str, message: str) -> web.Response:
    return answer({"kind": "Status", "code": code, "reason": reason, "message": message}, code)


@dataclass
class StandIn:
    """Objects by path. `lie` may answer a request; `seen` holds "METHOD path" of each."""

    url: str = ""
    objects: dict[str, Object] = field(default_factory=dict)
    lie: Lie = lambda _request: None
    seen: list[str] = field(default_factory=list)
    _version: int = 1
    _watchers: list[tuple[str, asyncio.Queue[Object]]] = field(default_factory=list)

    def tasks(self, namespace: str) -> dict[str, Object]:
        below = f"/apis/guildnet.io/v1alpha1/namespaces/{namespace}/agenttasks/"
        return {p.removeprefix(below): o for p, o in self.objects.items() if p.startswith(below)}

    def object(self, plural: str, name: str, namespace: str) -> Object | None:
        ends = f"/namespaces/{namespace}/{plural}/{name}"
        return next((o for path, o in self.objects.items() if path.endswith(ends)), None)

    def put(self, path: str, obj: Object) -> Object:
        """Store an object, and send it to whoever watches."""
        self._version += 1
        before = self.objects.get(path)
        meta = {"creationTimestamp": "2026-01-01T00:00:00Z", **obj.get("metadata", {})}
        meta["uid"] = before["metadata"]["uid"] if before else f"uid-{self._version}"
        meta["resourceVersion"] = str(self._version)
        if before and "status" in before:
            obj = {"status": before["status"], **obj}
        self.objects[path] = {**obj, "metadata": meta}
        self._send("MODIFIED" if before else "ADDED", path, self.objects[path])
        return self.objects[path]

    def report(self, namespace: str, task: str, status: Object) -> None:
        """Write a task's status, as the operator does."""
        path = f"/apis/guildnet.io/v1alpha1/namespaces/{namespace}/agenttasks/{task}"
        self.put(path, {**self.objects[path], "status": status})

    def _send(self, kind: str, path: str, obj: Object) -> None:
        for below, queue in self._watchers:
            if path.startswith(below + "/"):
                queue.put_nowait({"type": kind, "object": obj})

    # --- HTTP -------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        reported = self.lie(request)
        if reported is not None:
            return reported
        path = request.path
        if request.method == "GET" and path.rpartition("/")[2] in PLURALS:
            is_watch = "watch" in request.query
            return await self._watch(request, path) if is_watch else self._list(path)
        if request.method == "GET":
            return answer(self.objects[path]) if path in self.objects else _missing(path)
        body = json.loads(await request.read())
        if request.method == "DELETE":
            gone = self.objects.pop(path, None)
            if gone is not None:
                self._send("DELETED", path, gone)
            return answer({"kind": "Status"}) if gone else _missing(path)
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
        elif request.method == "PUT" and self._is_stale(path, body):
            return refusal(409, "Conflict", "the object has been modified")
        elif "merge-patch" in request.headers["Content-Type"]:
            body = _merged(self.objects[path], body)
        elif request.method == "PATCH":
            body["metadata"]["managedFields"] = [_owned(body)]
        return answer(self.put(path, body))

    def _is_stale(self, path: str, body: Object) -> bool:
        version = body["metadata"].get("resourceVersion")
        known = self.objects.get(path)
        return known is None or version not in (None, known["metadata"]["resourceVersion"])

    def _list(self, path: str) -> web.Response:
        items = [o for p, o in self.objects.items() if p.startswith(path + "/")]
        return answer({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    async def _watch(self, request: web.Request, path: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[Object] = asyncio.Queue()
        entry = (path, queue)
        self._watchers.append(entry)
        since = int(request.query.get("resourceVersion") or 0)
        for known, obj in list(self.objects.items()):
            if known.startswith(path + "/") and int(obj["metadata"]["resourceVersion"]) > since:
                queue.put_nowait({"type": "ADDED", "object": obj})
        try:
            while True:
                await response.write(json.dumps(await queue.get()).encode() + b"\n")
        except ConnectionError:
            return response
        finally:
            self._watchers.remove(entry)


def _missing(path: str) -> web.Response:
    *_, plural, name = path.split("/")
    return refusal(404, "NotFound", f'{plural} "{name}" not found')


def _merged(before: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        result[key] = _merged(result.get(key), value)
    return {key: value for key, value in result.items() if value is not None}


def _owned(body: Object) -> Object:
    names: Iterator[str] = iter(body["metadata"].get("labels", {}))
    fields: Object = {"f:metadata": {"f:labels": {f"f:{name}": {} for name in names}}, "f:spec": {}}
    return {"manager": "guildnet-reconciler", "operation": "Apply", "fieldsV1": fields}


@asynccontextmanager
async def standing_in(*namespaces: str) -> AsyncIterator[StandIn]:
    """A server on loopback that has these namespaces."""
    server = StandIn()
    for name in namespaces:
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        server.put(f"/api/v1/namespaces/{name}", obj)
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


# --- what a reconciler is given ---------------------------------------------------------------


def org_file(name: str, namespace: str = "") -> str:
    return (
        f"apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {{name: {name}}}\nspec:\n"
        f"  cluster: {{kubeconfig: {name}, namespace: {namespace or name}}}\n"
        f"  agent: {{command: [sh, -c, 'true']}}\n"
    )


def task_file(name: str, prompt: str = "go") -> str:
    return (
        f"apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\n"
        f"spec: {{prompt: {prompt}}}\n"
    )


def store_kubeconfig(settings: Settings, name: str, server: str) -> None:
    path = settings.kubeconfig_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {
        "current-context": "c",
        "contexts": [context],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
    }
    path.write_text(json.dumps(config))


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
