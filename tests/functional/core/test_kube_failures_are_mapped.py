"""Whatever goes wrong with an API server raises one of our errors, which names the place (I10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import kmock as km
import pytest

from guildnet.errors import (
    KubeConflict,
    KubeError,
    KubeForbidden,
    KubeGone,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)
from guildnet.kube import AGENT_TASKS, CONFIG_MAPS, PODS, KubeClient

pytestmark = pytest.mark.kmock(cls=km.RawHandler)

ONE = "/api/v1/namespaces/agents/configmaps/one"
POD = "/api/v1/namespaces/agents/pods/agent:8484/proxy"


@pytest.fixture
def open_client(kmock: Any, make_kubeconfig: Callable[..., Path]) -> Callable[..., KubeClient]:
    return lambda **options: KubeClient.from_kubeconfig(make_kubeconfig(str(kmock.url)), **options)


def status(code: int, reason: str, message: str = "the cause") -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, KubeInvalid),
        (401, KubeForbidden),
        (403, KubeForbidden),
        (404, KubeNotFound),
        (405, KubeError),
        (409, KubeConflict),
        (410, KubeGone),
        (413, KubeInvalid),
        (422, KubeInvalid),
        (429, KubeUnavailable),
        (500, KubeUnavailable),
        (503, KubeUnavailable),
        (301, KubeError),
    ],
)
async def test_each_http_status_maps_to_its_error(
    kmock: Any, open_client: Callable[..., KubeClient], code: int, error: type[KubeError]
) -> None:
    kmock[f"get {ONE}"] << code << status(code, "Reason") << {"Retry-After": "7"}
    async with open_client() as client:
        with pytest.raises(KubeError) as failed:
            await client.get(CONFIG_MAPS, "one")
    assert type(failed.value) is error
    assert (failed.value.status, failed.value.reason) == (code, "Reason")
    assert (failed.value.message, failed.value.retry_after) == ("the cause", 7.0)
    assert failed.value.place == "cluster here: get configmaps/agents/one"


async def test_a_missing_object_is_not_a_missing_kind(
    kmock: Any, open_client: Callable[..., KubeClient]
) -> None:
    """I1: if the kind is not installed, its objects are not reported as missing."""
    kmock[f"get {ONE}"] << 404 << status(404, "NotFound", 'configmaps "one" not found')
    kmock[f"get {AGENT_TASKS.path('agents', 'one')}"] << 404 << b"404 page not found\n"
    async with open_client() as client:
        assert await client.find(CONFIG_MAPS, "one") is None
        with pytest.raises(KubeNotFound) as missing:
            await client.find(AGENT_TASKS, "one")
    assert "guildnet org install" in (missing.value.cure or "")


async def test_a_request_without_an_answer_times_out(
    kmock: Any, open_client: Callable[..., KubeClient]
) -> None:
    """I10: a hanging API server is reported when the request times out."""
    kmock[f"get {ONE}"] << (lambda: asyncio.sleep(3600))
    seen: list[tuple[str, int]] = []
    async with open_client(on_request=lambda verb, code: seen.append((verb, code))) as client:
        with pytest.raises(KubeUnavailable, match="gave no answer within") as failed:
            await client.get(CONFIG_MAPS, "one", timeout=timedelta(seconds=0.2))
    assert failed.value.reason == "Timeout"
    assert seen == [("get", 0)]


async def test_a_closed_port_and_a_broken_answer(
    kmock: Any, open_client: Callable[..., KubeClient], make_kubeconfig: Callable[..., Path]
) -> None:
    kmock[f"get {ONE}"] << b"no JSON"
    async with open_client() as client:
        with pytest.raises(KubeError, match="not JSON"):
            await client.get(CONFIG_MAPS, "one")
    for server in ("http://127.0.0.1:9", "https://127.0.0.1:9", "https://no-such-host.invalid"):
        async with KubeClient.from_kubeconfig(make_kubeconfig(server)) as client:
            with pytest.raises(KubeUnavailable) as failed:
                await client.get(CONFIG_MAPS, "one")
        assert failed.value.cure == "check that the cluster is running and can be reached from here"
    async with KubeClient.from_kubeconfig(
        make_kubeconfig(str(kmock.url).replace("http:", "https:"))
    ) as client:
        with pytest.raises(KubeUnavailable):
            await client.version()


async def test_method_content_type_and_query_of_writes(
    kmock: Any, open_client: Callable[..., KubeClient]
) -> None:
    kmock.fallback << {"kind": "ConfigMap", "metadata": {"name": "one"}}
    seen: list[tuple[str, int]] = []
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {}}
    async with open_client(on_request=lambda verb, code: seen.append((verb, code))) as client:
        await client.apply(obj, field_manager="me", force=False)
        await client.patch(CONFIG_MAPS, "one", {"data": None}, subresource="status")
        await client.patch(CONFIG_MAPS, "one", [{"op": "remove", "path": "/data"}], "other")
        await client.delete(CONFIG_MAPS, "one", uid="u1", resource_version="7")
    requests = list(kmock)
    assert [request.method.value for request in requests] == ["PATCH", "PATCH", "PATCH", "DELETE"]
    assert dict(requests[0].params) == {"fieldManager": "me", "fieldValidation": "Strict"}
    assert [request.headers["Content-Type"] for request in requests] == [
        "application/apply-patch+yaml",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/json",
    ]
    assert requests[0].headers["Authorization"] == "Bearer t0ken"
    assert str(requests[1].url).partition("?")[0].endswith(f"{ONE}/status")
    assert "/namespaces/other/" in str(requests[2].url)
    assert requests[3].data["preconditions"] == {"uid": "u1", "resourceVersion": "7"}
    assert seen == [("apply", 200), ("patch", 200), ("patch", 200), ("delete", 200)]


async def test_a_fence_stops_writes_but_not_reads(
    kmock: Any, open_client: Callable[..., KubeClient]
) -> None:
    kmock.fallback << {"kind": "ConfigMap", "metadata": {"name": "one"}}

    class Fence:
        held = True
        remaining = timedelta(seconds=5)

    fence = Fence()
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    async with open_client() as client:
        fenced = client.fenced_by(fence)
        await fenced.apply(obj, field_manager="me")
        fence.held = False
        await fenced.get(CONFIG_MAPS, "one")
        for write in (
            fenced.apply(obj, field_manager="me"),
            fenced.create(obj),
            fenced.replace(obj),
            fenced.patch(CONFIG_MAPS, "one", {}),
            fenced.delete(CONFIG_MAPS, "one"),
            fenced.create_event(obj, reason="R", message="m", component="c"),
        ):
            with pytest.raises(KubeUnavailable) as stopped:
                await write
            assert stopped.value.reason == "LeaseNotHeld"
        await client.delete(CONFIG_MAPS, "one")
    assert [request.method.value for request in kmock] == ["PATCH", "GET", "DELETE"]


async def test_answers_of_pods_are_passed_on_unchanged(
    kmock: Any, open_client: Callable[..., KubeClient]
) -> None:
    kmock[f"get {POD}/state"] << 409 << {"message": "mine"} << {"X-GuildNet-Signature": "v1 x"}
    kmock[f"get {POD}/moved"] << 302 << {"Location": "http://169.254.169.254/"}
    async with open_client() as client:
        code, headers, body = await client.proxy_request("agent", 8484, "GET", "/state?wait=30")
        assert (code, headers["x-guildnet-signature"]) == (409, "v1 x")
        assert b"mine" in body
        code, _, _ = await client.proxy_request("agent", 8484, "GET", "/moved")
        assert code == 302
    assert kmock[f"get {POD}/state"][0].params["wait"] == "30"


async def test_refusals_of_the_api_servers_proxy_are_errors(
    kmock: Any, open_client: Callable[..., KubeClient]
) -> None:
    kmock[f"get {POD}/state"] << 503 << status(503, "ServiceUnavailable", "no route to the pod")
    kmock[f"get {POD}/large"] << b"x" * 100_000
    kmock[f"get {POD}/hang"] << (lambda: asyncio.sleep(3600))
    async with open_client() as client:
        with pytest.raises(KubeUnavailable, match="no route to the pod"):
            await client.proxy_request("agent", 8484, "GET", "/state")
        with pytest.raises(KubeError) as large:
            await client.proxy_request("agent", 8484, "GET", "/large")
        assert large.value.reason == "TooLarge"
        short = timedelta(seconds=0.2)
        with pytest.raises(KubeUnavailable):
            await client.proxy_request("agent", 8484, "GET", "/hang", timeout=short)
        for path in ("state", "/../../secrets", "/a/%2e%2e/b", "/a\n", "/a#b", "/ä"):
            with pytest.raises(KubeInvalid):
                await client.proxy_request("agent", 8484, "GET", path)
    assert len(kmock) == 3


async def test_logs_are_bounded(kmock: Any, open_client: Callable[..., KubeClient]) -> None:
    """I9: neither a large log nor a server that ignores its limit fills the memory."""
    kmock[f"get {PODS.path('agents', 'agent')}/log"] << b"hello\n"
    kmock[f"get {PODS.path('agents', 'big')}/log"] << b"x" * 100_000
    async with open_client() as client:
        assert await client.pod_log("agent", container="work", tail_lines=5) == b"hello\n"
        with pytest.raises(KubeError) as large:
            await client.pod_log("big", container="work", max_bytes=10)
        assert large.value.reason == "TooLarge"
        pieces = [piece async for piece in client.follow_pod_log("agent", container="work")]
        assert b"".join(pieces) == b"hello\n"


async def test_a_list_in_pages(kmock: Any, open_client: Callable[..., KubeClient]) -> None:
    def page(request: Any) -> dict[str, Any]:
        second = "continue" in request.params
        name, token = ("b", "") if second else ("a", "t o=k&n")
        return {"metadata": {"continue": token}, "items": [{"metadata": {"name": name}}]}

    kmock[f"get {CONFIG_MAPS.path('agents')}"] << page
    async with open_client() as client:
        found = await client.list_all(CONFIG_MAPS, label_selector="a=b,c in (d)")
    assert [(item["kind"], item["metadata"]["name"]) for item in found] == [
        ("ConfigMap", "a"),
        ("ConfigMap", "b"),
    ]
    assert kmock[1].params["continue"] == "t o=k&n"
    assert kmock[1].params["labelSelector"] == "a=b,c in (d)"
