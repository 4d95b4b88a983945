"""Agents may query the cluster's own DNS servers, in any distribution, and no others."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_operator.lookups.dns_servers import (
    MAX_ADDRESSES,
    NODE_LOCAL,
    WELL_KNOWN,
    DnsServers,
    configured,
    nameservers,
    servers_of,
)

SERVICE: dict[str, Any] = {
    "spec": {
        "selector": {"k8s-app": "kube-dns"},
        "clusterIPs": ["10.96.0.10", "fd00:10::a"],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp"},
            {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
        ],
    }
}


def slice_of(*addresses: str, port: Any = 53) -> dict[str, Any]:
    return {
        "ports": [
            {"name": "dns", "port": port, "protocol": "UDP"},
            {"name": "dns-tcp", "port": port, "protocol": "TCP"},
            {"name": "metrics", "port": 9153, "protocol": "TCP"},
        ],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


def test_the_service_its_pods_and_node_local_dns_are_found() -> None:
    found = servers_of(SERVICE, [slice_of("10.244.0.5", "10.244.1.6")])
    assert found.addresses == (
        ("10.244.0.5", 53),
        ("10.244.1.6", 53),
        ("10.96.0.10", 53),
        ("169.254.20.10", 53),
        ("fd00:10::a", 53),
    )
    own, node_local = found.pods
    assert (own.namespace, own.labels, own.ports) == (
        "kube-system",
        (("k8s-app", "kube-dns"),),
        (53,),
    )
    assert dict(node_local.labels) == {"k8s-app": "node-local-dns"}


@pytest.mark.parametrize("port", [5353, 8053, 1053])
def test_pods_are_allowed_on_their_target_port(port: int) -> None:
    found = servers_of(SERVICE, [slice_of("10.128.0.9", port=port)])
    assert ("10.128.0.9", port) in found.addresses
    assert ("10.128.0.9", 53) not in found.addresses
    assert found.pods[0].ports == (port,)


def test_other_ports_of_the_dns_service_stay_closed() -> None:
    found = servers_of(SERVICE, [slice_of("10.244.0.5")])
    assert 9153 not in {port for _, port in found.addresses}
    assert 9153 not in {port for pods in found.pods for port in pods.ports}


def test_without_slices_the_target_port_counts() -> None:
    ports = [{"name": "dns", "port": 53, "targetPort": 5353}]
    found = servers_of({"spec": {**SERVICE["spec"], "ports": ports}}, [])
    assert found.pods[0].ports == (5353,)


def test_many_dns_pods_are_allowed_by_their_labels() -> None:
    many = [f"10.{n // 250}.{n % 250}.7" for n in range(2000)]
    found = servers_of(SERVICE, [slice_of(*many)])
    assert len(found.addresses) <= MAX_ADDRESSES + 3
    assert found.pods[0].labels == (("k8s-app", "kube-dns"),)


def test_a_service_without_selector_is_known_by_its_endpoints() -> None:
    spec = {**SERVICE["spec"], "selector": None}
    found = servers_of({"spec": spec}, [slice_of("192.0.2.53")])
    assert ("192.0.2.53", 53) in found.addresses
    assert [pods.labels for pods in found.pods] == [(("k8s-app", "node-local-dns"),)]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.251", "::ffff:169.254.169.254", "fe80::1%eth0", "x"],
)
def test_addresses_that_cannot_serve_dns_are_not_allowed(address: str) -> None:
    spec = {**SERVICE["spec"], "clusterIPs": [address]}
    found = servers_of({"spec": spec}, [slice_of(address)])
    assert found.addresses == (NODE_LOCAL,)
    assert configured([(address, 53)]) == DnsServers()


def test_a_link_local_server_is_allowed_on_port_53_only() -> None:
    """The same address serves a cloud's credentials on another port."""
    assert configured([("169.254.169.254", 53)]).addresses == (("169.254.169.254", 53),)
    assert configured([("169.254.169.254", 80)]).addresses == ()


def test_spec_dns_replaces_all_other_servers() -> None:
    assert configured([("10.0.0.53", 5353)]) == DnsServers((), (("10.0.0.53", 5353),))


def test_name_servers_of_the_own_pod_are_read() -> None:
    text = "search x.svc\nnameserver 169.254.25.10\nnameserver 172.30.0.10\nnameserver 127.0.0.53\n"
    assert nameservers(text) == (("169.254.25.10", 53), ("172.30.0.10", 53))
    assert nameservers("nameserver\n\x00 \ud800\nnameserver\x00 10.0.0.1") == ()


def test_without_the_service_only_dns_pods_are_allowed() -> None:
    assert {pods.namespace for pods in WELL_KNOWN.pods} == {"kube-system", "openshift-dns"}
    assert 5353 in {port for pods in WELL_KNOWN.pods for port in pods.ports}
    assert WELL_KNOWN.addresses == (("169.254.20.10", 53),)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("10.0.0.1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "spec",
                    "selector",
                    "ports",
                    "port",
                    "name",
                    "endpoints",
                    "addresses",
                    "clusterIPs",
                    "targetPort",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(service=st.dictionaries(st.just("spec"), anything), slices=st.lists(anything, max_size=3))
def test_any_answer_of_a_cluster_is_read(service: Any, slices: list[Any]) -> None:
    found = servers_of(service, [s for s in slices if isinstance(s, Mapping)])
    for address, port in found.addresses:
        assert ipaddress.ip_address(address)
        assert 0 < port < 65536
