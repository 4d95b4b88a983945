"""Every kind of call goes through the kubeconfig's proxy, HTTP or SOCKS5, which alone knows the
server's name; the server's certificate is verified all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.cluster.core.forwarding_proxy import ForwardingProxy, forwarding

from guildnet.errors import KubeNotFound, KubeUnavailable
from guildnet.kube import CONFIG_MAPS, KubeClient, list_and_watch

NAME = "acme-api:6443"
both = pytest.mark.parametrize("scheme", ["http", "socks5"])


def parsed(kubeconfig: Path) -> Any:
    return yaml.safe_load(kubeconfig.read_text())


@asynccontextmanager
async def reached_by(
    scheme: str, kubeconfig: Path, tmp_path: Path, **cluster: Any
) -> AsyncIterator[tuple[ForwardingProxy, KubeClient]]:
    config = parsed(kubeconfig)
    own = config["clusters"][0]["cluster"]
    server = urlsplit(own["server"])
    assert server.hostname
    assert server.port
    proxy = ForwardingProxy({NAME: (server.hostname, server.port)})
    async with forwarding(proxy, scheme) as url:
        own |= {"server": f"https://{NAME}", "proxy-url": url, "tls-server-name": server.hostname}
        own |= cluster
        path = tmp_path / "behind.config"
        path.write_text(yaml.safe_dump(config))
        async with KubeClient.from_kubeconfig(path, namespace="default") as client:
            yield proxy, client


def config_map(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


@both
async def test_apply_list_watch_and_pod_proxy_go_through_the_proxy(
    control_plane: Path, tmp_path: Path, scheme: str
) -> None:
    async with reached_by(scheme, control_plane, tmp_path) as (proxy, client):
        await client.apply(config_map(f"by-{scheme}"), field_manager="test")
        listed = await client.list_all(CONFIG_MAPS)
        assert f"by-{scheme}" in {obj["metadata"]["name"] for obj in listed}
        with pytest.raises(KubeNotFound, match="no-such-pod"):
            await client.proxy_request("no-such-pod", 8484, "GET", "/state")
        events = list_and_watch(
            client, CONFIG_MAPS, dict, max_backoff=timedelta(0), idle_timeout=timedelta(seconds=5)
        )
        async with aclosing(events) as opened:
            async for event in opened:
                if event.type == "SYNCED":
                    await client.apply(config_map(f"late-{scheme}"), field_manager="test")
                if event.name == f"late-{scheme}":
                    break
    assert set(proxy.dialled) == {NAME}


@both
async def test_another_servers_certificate_is_refused(
    control_plane: Path, tmp_path: Path, scheme: str
) -> None:
    """With tls-server-name, the name that the proxy knows plays no part in the check."""
    name = {"tls-server-name": "another.example"}
    async with reached_by(scheme, control_plane, tmp_path, **name) as (_, client):
        with pytest.raises(KubeUnavailable, match=r"another\.example"):
            await client.version()


@both
async def test_a_proxy_that_cannot_connect_is_named_with_its_cause(
    control_plane: Path, tmp_path: Path, scheme: str
) -> None:
    """I10: the proxy's own words, not only that there was no answer."""
    server = {"server": "https://gone-api:6443"}
    cause = "lookup gone-api:6443: no such host" if scheme == "http" else "Host unreachable"
    async with reached_by(scheme, control_plane, tmp_path, **server) as (_, client):
        with pytest.raises(KubeUnavailable) as failure:
            await client.version()
    assert f"through the proxy {scheme}://127.0.0.1:" in failure.value.message
    assert cause in failure.value.message
    assert "tailscale status" in str(failure.value.cure)


@both
async def test_a_proxy_that_does_not_connect_is_given_up_within_seconds(
    control_plane: Path, tmp_path: Path, scheme: str
) -> None:
    async with reached_by(scheme, control_plane, tmp_path) as (proxy, client):
        proxy.hangs = True
        with pytest.raises(KubeUnavailable, match=r"through the proxy .* within 5 s"):
            await client.version()


@both
async def test_a_proxy_that_is_down_is_named(tmp_path: Path, scheme: str) -> None:
    async with forwarding(ForwardingProxy({}), scheme) as url:
        pass
    path = tmp_path / "down.config"
    clusters = [{"name": "c", "cluster": {"server": "https://acme-api:6443", "proxy-url": url}}]
    contexts = [{"name": "here", "context": {"cluster": "c"}}]
    config = {"clusters": clusters, "contexts": contexts, "current-context": "here"}
    path.write_text(yaml.safe_dump(config))
    async with KubeClient.from_kubeconfig(path) as client:
        with pytest.raises(KubeUnavailable, match=f"through the proxy {url}: .*onnect"):
            await client.version()
