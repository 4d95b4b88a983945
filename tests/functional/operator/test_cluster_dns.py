"""The operator looks up the cluster's DNS servers, and continues without an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from guildnet.kube import KubeClient
from guildnet_operator.lookups.cluster_dns import ClusterDns, own_nameservers
from guildnet_operator.lookups.dns_servers import WELL_KNOWN

SERVICE_PATH = "/api/v1/namespaces/kube-system/services/kube-dns"
SLICES_PATH = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"


class KubeSystem:
    """An API server with the Service kube-dns; `refusal`: answer this status instead."""

    def __init__(self) -> None:
        self.endpoint = "10.244.0.5"
        self.refusal = 0
        self.slices: Any = None
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await self.answers.wait()
        if self.refusal:
            message = 'services "kube-dns" not found' if self.refusal == 404 else "no"
            return web.json_response({"kind": "Status", "message": message}, status=self.refusal)
        if request.path == SERVICE_PATH:
            ports = [{"name": "dns", "port": 53}]
            spec = {"selector": {"app": "dns"}, "clusterIPs": ["10.96.0.10"], "ports": ports}
            return web.json_response({"metadata": {"name": "kube-dns"}, "spec": spec})
        assert request.path == SLICES_PATH
        assert request.query["labelSelector"] == "kubernetes.io/service-name=kube-dns"
        ports = [{"name": "dns", "port": 5353}]
        endpoints = [{"addresses": [self.endpoint]}]
        items = self.slices or [{"metadata": {}, "ports": ports, "endpoints": endpoints}]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})


@pytest.fixture
def kube_system() -> KubeSystem:
    return KubeSystem()


@pytest.fixture
async def client(kube_system: KubeSystem, tmp_path: Path) -> AsyncIterator[KubeClient]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", kube_system.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    async with KubeClient.from_kubeconfig(kubeconfig, namespace="agents") as made:
        yield made
    await runner.cleanup()


def dns_of(client: KubeClient, own: tuple[tuple[str, int], ...] = ()) -> ClusterDns:
    """A ClusterDns that looks up at each call."""
    return ClusterDns(client, timedelta(), own)


async def test_pods_and_addresses_come_from_the_service_and_its_slices(client: KubeClient) -> None:
    found = await dns_of(client, (("169.254.25.10", 53),)).servers()
    assert found.addresses == (
        ("10.244.0.5", 5353),
        ("10.96.0.10", 53),
        ("169.254.20.10", 53),
        ("169.254.25.10", 53),
    )
    assert found.pods[0].labels == (("app", "dns"),)
    assert found.pods[0].ports == (5353,)


async def test_moved_pods_are_noticed(client: KubeClient, kube_system: KubeSystem) -> None:
    dns = dns_of(client)
    await dns.servers()
    kube_system.endpoint = "10.244.9.9"
    found = await dns.servers()
    assert ("10.244.9.9", 5353) in found.addresses
    assert ("10.244.0.5", 5353) not in found.addresses


async def test_an_answer_is_kept_for_a_while(client: KubeClient, kube_system: KubeSystem) -> None:
    dns = ClusterDns(client, timedelta(minutes=5), ())
    assert await dns.servers() == await dns.servers()
    assert kube_system.asked == [SERVICE_PATH, SLICES_PATH]


@pytest.mark.parametrize(
    ("refusal", "problem"), [(403, "may not read"), (404, "there is no Service kube-dns")]
)
async def test_an_unreadable_service_is_logged_and_replaced_by_well_known_labels(
    client: KubeClient,
    kube_system: KubeSystem,
    caplog: pytest.LogCaptureFixture,
    refusal: int,
    problem: str,
) -> None:
    caplog.set_level(logging.WARNING)
    kube_system.refusal = refusal
    dns = dns_of(client)
    assert await dns.servers() == WELL_KNOWN
    await dns.servers()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert problem in messages[0]
    assert "spec.dns" in messages[0]


@pytest.mark.parametrize("slices", [["x"], [None], [{"endpoints": 5, "ports": {}}]])
async def test_malformed_answers_stop_nothing(
    client: KubeClient, kube_system: KubeSystem, slices: Any
) -> None:
    kube_system.slices = slices
    assert await dns_of(client).servers()


async def test_without_an_answer_the_last_servers_are_kept(
    client: KubeClient, kube_system: KubeSystem
) -> None:
    """I1"""
    dns = dns_of(client)
    before = await dns.servers()
    kube_system.refusal = 500
    assert await dns.servers() == before


async def test_a_lookup_that_hangs_delays_one_reconciliation_at_most(
    client: KubeClient, kube_system: KubeSystem
) -> None:
    dns = dns_of(client)
    before = await dns.servers()
    kube_system.answers.clear()
    hanging = asyncio.create_task(dns.servers())
    while len(kube_system.asked) < 3:  # noqa: ASYNC110  the server has no event to wait for
        await asyncio.sleep(0.01)
    assert await asyncio.wait_for(dns.servers(), 5) == before
    kube_system.answers.set()
    assert await hanging == before


def test_the_own_pods_name_servers_are_read_if_the_file_exists(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(b"\xff\nnameserver 10.96.0.10\n" + b"#" * 10_000_000)
    assert own_nameservers(file) == (("10.96.0.10", 53),)
    assert own_nameservers(tmp_path / "missing") == ()
