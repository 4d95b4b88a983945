"""I9, I10: whatever an API server answers, each call of the client ends in time and in bounds. It
returns a result or raises one of our errors, which names the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guildnet.errors import KubeError, KubeForbidden, KubeUnavailable
from guildnet.kube import CONFIG_MAPS, LEASES, KubeClient, Lease, LeaseTiming, list_and_watch
from guildnet.kube.reading import MAX_LISTED

OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}


class Server:
    """Answers every request with `answer`."""

    def __init__(self) -> None:
        self.answer: Callable[[web.Request], web.Response] = lambda _: web.Response(body=b"{}")
        self.requests = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        await request.read()
        return self.answer(request)

    def says(self, body: Any, status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = lambda _: web.Response(
            body=data, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )


@asynccontextmanager
async def serving(
    make_kubeconfig: Callable[..., Path], user: dict[str, object] | None = None
) -> AsyncIterator[tuple[Server, KubeClient]]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    path = make_kubeconfig(f"http://127.0.0.1:{runner.addresses[0][1]}", user)
    try:
        async with KubeClient.from_kubeconfig(path) as client:
            yield server, client
    finally:
        await runner.cleanup()


async def first_events(client: KubeClient) -> None:
    """The events of a watch up to SYNCED or DISRUPTED."""
    events = list_and_watch(
        client, CONFIG_MAPS, dict, max_backoff=timedelta(0), idle_timeout=timedelta(seconds=5)
    )
    async with aclosing(events) as opened:
        synced = 0
        async for event in opened:
            if event.type == "DISRUPTED":
                assert event.error is not None
                raise event.error
            synced += event.type == "SYNCED"
            if synced > 1:
                return


async def watched_for_a_moment(client: KubeClient) -> None:
    """Watch for 0.1 s only: a server that always answers 410 is listed again without end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await first_events(client)


async def try_lease(client: KubeClient) -> None:
    heard: list[KubeError | None] = []
    timing = LeaseTiming(retry=timedelta(seconds=0.01), request_timeout=timedelta(seconds=5))
    lease = Lease(client, "guildnet", "me", timing=timing, on_liveness=heard.append)
    task = asyncio.create_task(lease.run())
    try:
        async with asyncio.timeout(0.15):
            while not (heard or lease.held or task.done()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    except TimeoutError:
        pass
    finally:
        task.cancel()
        result = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result[0], asyncio.CancelledError), result


async def listed(client: KubeClient) -> None:
    await client.list_all(CONFIG_MAPS)


CALLS: dict[str, Callable[[KubeClient], Awaitable[object]]] = {
    "get": lambda client: client.get(CONFIG_MAPS, "one"),
    "find": lambda client: client.find(CONFIG_MAPS, "one"),
    "list": listed,
    "version": lambda client: client.version(),
    "apply": lambda client: client.apply(OBJECT, field_manager="me"),
    "create": lambda client: client.create(OBJECT),
    "replace": lambda client: client.replace(OBJECT),
    "patch": lambda client: client.patch(CONFIG_MAPS, "one", {}),
    "delete": lambda client: client.delete(CONFIG_MAPS, "one"),
    "event": lambda client: client.create_event(OBJECT, reason="R", message="m", component="c"),
    "proxy": lambda client: client.proxy_request("pod", 1, "GET", "/state"),
    "log": lambda client: client.pod_log("pod", container="work"),
    "watch": watched_for_a_moment,
    "lease": try_lease,
}

KEYS = (
    *("metadata", "items", "kind", "name", "resourceVersion", "continue", "spec", "code", "type"),
    *("object", "message", "reason", "details", "retryAfterSeconds", "uid", "data"),
    *("holderIdentity", "leaseDurationSeconds", "leaseTransitions"),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=()), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)
BODIES = st.one_of(
    JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    JSON.map(
        lambda spec: json.dumps(
            {"metadata": {"name": "guildnet", "resourceVersion": "1"}, "spec": spec}
        ).encode("utf-8", "surrogatepass")
    ),
    st.binary(max_size=40),
    st.integers(1, 3000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
    st.integers(1, 3000).map(lambda depth: b"[" * depth + b"]" * depth),
    st.just(b'{"metadata":{"name":"a","resourceVersion":"1"},"items":[],"x":1e999}'),
    st.just(b'{"a":' + b"9" * 5000 + b"}"),
)
CODES = st.sampled_from([200, 200, 200, 201, 301, 400, 404, 409, 410, 422, 429, 500, 503])
HEADERS = st.sampled_from(["-5", "0", "nan", "inf", "1e-9", "9" * 400, "x", "Tue, 99 Foo"])


@pytest.mark.parametrize("call", CALLS)
async def test_any_answer_to_any_call(make_kubeconfig: Callable[..., Path], call: str) -> None:
    async with serving(make_kubeconfig) as (server, client):
        loop = asyncio.get_running_loop()

        def one(body: bytes, code: int, wait: str) -> asyncio.Future[object]:
            server.says(body, code, Retry_After=wait)
            return asyncio.run_coroutine_threadsafe(_tried(CALLS[call], client), loop)  # type: ignore[return-value]

        @settings(
            max_examples=20, suppress_health_check=list(HealthCheck), database=None, deadline=None
        )
        @given(BODIES, CODES, HEADERS)
        def check(body: bytes, code: int, wait: str) -> None:
            error = one(body, code, wait).result(20)  # type: ignore[call-arg]
            if isinstance(error, KubeError):
                assert "cluster here" in str(error) or "pods/" in str(error)
                assert len(str(error)) < 5000
                str(error).encode()
                assert "\0" not in str(error)
                wanted = error.retry_after
                assert wanted is None or (0.5 <= wanted <= 3600 and math.isfinite(wanted))

        await asyncio.to_thread(check)


async def _tried(call: Callable[[KubeClient], Awaitable[object]], client: KubeClient) -> object:
    try:
        async with asyncio.timeout(15):
            return await call(client)
    except KubeError as error:
        return error


def endless_pages() -> Iterator[dict[str, Any]]:
    number = 0
    while True:
        items = [{"metadata": {"name": f"o{number}-{n}"}} for n in range(500)]
        yield {"metadata": {"resourceVersion": "1", "continue": f"t{number}"}, "items": items}
        number += 1


async def test_a_list_whose_pages_do_not_end_is_refused(
    make_kubeconfig: Callable[..., Path],
) -> None:
    pages = endless_pages()
    async with serving(make_kubeconfig) as (server, client):
        server.answer = lambda _: web.json_response(next(pages))
        with pytest.raises(KubeUnavailable, match=f"more than {MAX_LISTED} objects") as failed:
            await client.list_all(CONFIG_MAPS)
        assert failed.value.reason == "BadAnswer"
        server.requests = 0
        same = {"metadata": {"resourceVersion": "1", "continue": "again"}, "items": []}
        server.says(same)
        with pytest.raises(KubeUnavailable, match="do not end"):
            await client.list_all(CONFIG_MAPS)
        assert server.requests == 2


@pytest.mark.parametrize(
    "body",
    [{}, {"items": []}, {"metadata": [], "items": []}, {"metadata": {}, "items": {"a": 1}}],
)
async def test_an_answer_that_is_not_a_list_is_refused(
    make_kubeconfig: Callable[..., Path], body: Any
) -> None:
    async with serving(make_kubeconfig) as (server, client):
        server.says(body)
        for call in (listed, first_events):
            with pytest.raises(KubeUnavailable, match="not from a Kubernetes API server"):
                await call(client)


@pytest.mark.parametrize("body", [{}, {"metadata": {}}, {"metadata": {"name": 7}}, []])
async def test_an_answer_that_is_not_an_object_is_refused(
    make_kubeconfig: Callable[..., Path], body: Any
) -> None:
    async with serving(make_kubeconfig) as (server, client):
        server.says(body)
        for name in ("get", "apply", "create", "replace", "patch"):
            with pytest.raises(KubeUnavailable, match="not from a Kubernetes API server"):
                await CALLS[name](client)


async def test_characters_that_utf_8_cannot_encode_are_replaced(
    make_kubeconfig: Callable[..., Path],
) -> None:
    async with serving(make_kubeconfig) as (server, client):
        server.says(
            rb'{"metadata":{"name":"one"},"data":{"a":"x\ud800y","b":"\u0000","c":"\ud83d\ude00",'
            rb'"d":"\\ud800"}}'
        )
        found = await client.get(CONFIG_MAPS, "one")
        assert found["data"] == {
            "a": "x\ufffdy",
            "b": "\ufffd",
            "c": "\U0001f600",
            "d": "\\ud800",
        }
        server.says({"kind": "Status", "message": "bad \ud800 thing\0" + "m" * 10**6}, 422)
        with pytest.raises(KubeError) as failed:
            await client.get(CONFIG_MAPS, "one")
        assert failed.value.message.startswith("bad ? thing\ufffd")
        assert len(failed.value.message) <= 2000


@pytest.mark.parametrize(
    ("user", "secrets"),
    [
        ({"token": "sekret-token-of-acme"}, ["sekret-token-of-acme"]),
        (
            {"username": "joe", "password": "hunter2-pass"},
            ["hunter2-pass", "am9lOmh1bnRlcjItcGFzcw"],
        ),
    ],
)
async def test_an_echoed_credential_is_masked(
    make_kubeconfig: Callable[..., Path], user: dict[str, object], secrets: list[str]
) -> None:
    """I8"""
    async with serving(make_kubeconfig, user) as (server, client):

        def echo(request: web.Request) -> web.Response:
            said = f"rejected header: {request.headers['Authorization']}"
            body = {"kind": "Status", "message": said, "reason": said[-90:]}
            return web.json_response(body, status=401)

        server.answer = echo
        for name in ("get", "apply", "proxy"):
            with pytest.raises(KubeForbidden) as failed:
                await CALLS[name](client)
            shown = f"{failed.value!r} {failed.value} {failed.value.reason} {failed.value.args}"
            assert "rejected header" in shown
            assert not any(secret in shown for secret in secrets)


async def test_a_malformed_lease_is_not_taken_for_another_holder(
    make_kubeconfig: Callable[..., Path],
) -> None:
    """I10: it is reported as a bad answer, not as a Lease held by another reconciler."""
    heard: list[KubeError | None] = []
    async with serving(make_kubeconfig) as (server, client):
        server.says({"items": []})
        lease = Lease(client, "guildnet", "me", on_liveness=heard.append)
        task = asyncio.create_task(lease.run())
        async with asyncio.timeout(5):
            while not heard:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert heard[0] is not None
    assert heard[0].reason == "BadAnswer"
    assert lease.other_holder is None
    assert LEASES.plural in str(heard[0])
