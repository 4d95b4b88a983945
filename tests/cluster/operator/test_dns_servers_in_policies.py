"""An agent's policy follows the cluster's DNS servers, with the rights of an installation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guildnet.kube import ENDPOINT_SLICES, NETWORK_POLICIES, SERVICES

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "kube-dns", "namespace": "kube-system"},
    "spec": {
        "selector": {"k8s-app": "kube-dns"},
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 5353},
        ],
    },
}


def endpoint_slice(address: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-test",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": "dns", "port": 5353, "protocol": "UDP"}],
    }


@pytest.fixture
async def cluster_ip(org: Any) -> AsyncIterator[str]:
    """Serves DNS at 10.128.0.9:5353, until the test is over."""
    made = await org.admin.create(SERVICE)
    await org.admin.create(endpoint_slice("10.128.0.9"))
    org.settings = replace(org.settings, egress_refresh=timedelta(seconds=0.3))
    yield str(made["spec"]["clusterIP"])
    await org.admin.delete(ENDPOINT_SLICES, "kube-dns-test", "kube-system")
    await org.admin.delete(SERVICES, "kube-dns", "kube-system")


async def test_the_policy_of_an_agent_at_work_follows_the_clusters_dns(
    org: Any, node: Any, cluster_ip: str
) -> None:
    await org.add("open")
    async with org.operated():
        await node.run_pod("open")
        await org.reaches("open", "Ready", "True", "AgentServing")
        assert await _servers(org) == {
            (f"{cluster_ip}/32", 53),
            ("169.254.20.10/32", 53),
            ("10.128.0.9/32", 5353),
        }
        await org.admin.apply(endpoint_slice("10.128.7.7"), field_manager="test")

        async def has_followed() -> bool:
            return ("10.128.7.7/32", 5353) in await _servers(org)

        await org.comes_to(has_followed, "the DNS pod's new address is open")
        assert ("10.128.0.9/32", 5353) not in await _servers(org)


async def test_spec_dns_replaces_the_clusters_servers(org: Any, node: Any, cluster_ip: str) -> None:
    await org.configure(dns=[{"address": "10.0.0.53"}])
    await org.add("open")
    async with org.operated():
        await node.run_pod("open")
        await org.reaches("open", "Ready", "True", "AgentServing")
        assert await _servers(org) == {("10.0.0.53/32", 53)}
        await org.configure()

        async def is_found() -> bool:
            return (f"{cluster_ip}/32", 53) in await _servers(org)

        await org.comes_to(is_found, "the cluster's own DNS counts again")


async def _servers(org: Any) -> set[tuple[str, int]]:
    """The addresses that the agent's policy allows, each with its port."""
    policy = (await org.admin.list_all(NETWORK_POLICIES, org.namespace))[0]
    return {
        (to["ipBlock"]["cidr"], port["port"])
        for rule in policy["spec"]["egress"]
        for to in rule["to"]
        if "ipBlock" in to
        for port in rule["ports"]
    }
