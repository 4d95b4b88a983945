"""I2 and I9 on the network: only traffic that a NetworkPolicy allows passes.

A small interpreter of the rules decides which packets pass, and Hypothesis searches for packets
that pass although they should not.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_devcluster.network_policy_rules import CHAIN, ClusterObjects, chains, restore_text
from guildnet_operator.lookups.dns_servers import WELL_KNOWN, DnsPods, DnsServers
from guildnet_operator.manifests import Plan, agent_network_policy
from guildnet_operator.manifests.metadata import selector
from guildnet_operator.views import OrgSettings, TaskView


def pod(name: str, address: str, namespace: str = "work", **more: Any) -> dict[str, Any]:
    spec = {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"{namespace}/{name}",
            "labels": {"app": name},
        },
        "spec": {**spec, **more},
        "status": {"podIP": address, "phase": "Running"},
    }


def namespace(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "labels": {"name": name}}}


def policy(selector: dict[str, Any], **spec: Any) -> dict[str, Any]:
    types = [kind for kind in ("Ingress", "Egress") if kind.lower() in spec]
    return {
        "metadata": {"name": "p", "namespace": "work", "uid": "p"},
        "spec": {"podSelector": selector, "policyTypes": types, **spec},
    }


NAMESPACE_NAME = "kubernetes.io/metadata.name"
ALICE, BOB = pod("alice", "198.19.1.2"), pod("bob", "198.19.1.3")
EVE = pod("eve", "198.19.1.4", namespace="other")
NAMESPACES = (namespace("work"), namespace("other"))


def of(
    *policies: dict[str, Any], pods: tuple[dict[str, Any], ...] = (ALICE, BOB, EVE)
) -> ClusterObjects:
    return ClusterObjects(pods=pods, namespaces=NAMESPACES, policies=policies)


def passes(
    objects: ClusterObjects, source: str, target: str, port: int, protocol: str = "tcp"
) -> bool:
    """Whether the first packet of a connection passes the rules."""
    found = chains(objects)
    packet = {"-s": source, "-d": target, "-p": protocol}
    for rule in found[CHAIN]:
        words = rule.split()
        if words[-2] == "-j" and words[-1] in found and _matches(words[:-2], packet, port):
            verdict = next(
                each.split()[-1]
                for each in found[words[-1]]
                if _matches(each.split()[:-2], packet, port)
            )
            if verdict == "DROP":
                return False
    return True


def _matches(words: list[str], packet: dict[str, str], port: int) -> bool:
    pairs = zip(words[::2], words[1::2], strict=True)
    for flag, value in pairs:
        if flag in ("-s", "-d"):
            if ipaddress.ip_address(packet[flag]) not in ipaddress.ip_network(value):
                return False
        elif flag == "-p":
            if value != packet["-p"]:
                return False
        elif flag == "--dport":
            first, _, last = value.partition(":")
            if not int(first) <= port <= int(last or first):
                return False
        else:
            assert (flag, value) == ("-m", packet["-p"]), f"unknown match {flag} {value}"
    return True


def test_without_policies_everything_passes() -> None:
    assert list(chains(of())) == [CHAIN]
    assert passes(of(), "198.19.1.2", "198.19.1.3", 80)


def test_a_selected_pod_is_isolated_except_for_allowed_traffic() -> None:
    objects = of(policy({"matchLabels": {"app": "bob"}}, ingress=[{"ports": [{"port": 8443}]}]))
    assert passes(objects, "198.19.1.2", "198.19.1.3", 8443)
    assert passes(objects, "203.0.113.9", "198.19.1.3", 8443)
    assert not passes(objects, "198.19.1.2", "198.19.1.3", 8484)
    assert not passes(objects, "198.19.1.2", "198.19.1.3", 8443, "udp")
    # The policy does not cover the other direction and other pods.
    assert passes(objects, "198.19.1.3", "198.19.1.2", 22)


def test_both_pods_must_allow_a_connection() -> None:
    out = policy({"matchLabels": {"app": "alice"}}, egress=[{}])
    closed = policy({"matchLabels": {"app": "bob"}}, ingress=[])
    assert passes(of(out), "198.19.1.2", "198.19.1.3", 80)
    assert not passes(of(out, closed), "198.19.1.2", "198.19.1.3", 80)


def test_policies_are_additive() -> None:
    first = policy({}, egress=[{"ports": [{"port": 53, "protocol": "UDP"}]}])
    second = policy({}, egress=[{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}])
    objects = of(first, second)
    assert passes(objects, "198.19.1.2", "192.0.2.1", 53, "udp")
    assert passes(objects, "198.19.1.2", "203.0.113.7", 443)
    assert not passes(objects, "198.19.1.2", "192.0.2.1", 443)


def test_peers_default_to_the_namespace_of_the_policy() -> None:
    bob = {"matchLabels": {"app": "bob"}}
    near = of(policy(bob, ingress=[{"from": [{"podSelector": {}}]}]))
    assert passes(near, "198.19.1.2", "198.19.1.3", 80)
    assert not passes(near, "198.19.1.4", "198.19.1.3", 80)
    far = {"namespaceSelector": {"matchLabels": {"name": "other"}}}
    there = of(policy(bob, ingress=[{"from": [far]}]))
    assert passes(there, "198.19.1.4", "198.19.1.3", 80)
    assert not passes(there, "198.19.1.2", "198.19.1.3", 80)
    both = of(
        policy(bob, ingress=[{"from": [{**far, "podSelector": {"matchLabels": {"app": "x"}}}]}])
    )
    assert not passes(both, "198.19.1.4", "198.19.1.3", 80)


@pytest.mark.parametrize(
    ("requirement", "is_met"),
    [
        ({"key": "app", "operator": "In", "values": ["bob", "eve"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["bob"]}, False),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "tier", "operator": "DoesNotExist"}, True),
        ({"key": "tier", "operator": "Exists"}, False),
    ],
)
def test_match_expressions(requirement: dict[str, Any], is_met: bool) -> None:
    objects = of(policy({"matchExpressions": [requirement]}, ingress=[]))
    assert passes(objects, "198.19.1.2", "198.19.1.3", 80) is not is_met


def test_named_ports_and_ranges() -> None:
    bob = {"matchLabels": {"app": "bob"}}
    ports = [{"port": "web"}, {"port": 9000, "endPort": 9010}, {"port": "nowhere"}]
    objects = of(policy(bob, ingress=[{"ports": ports}]))
    assert [passes(objects, "192.0.2.1", "198.19.1.3", port) for port in (8080, 9005, 9011)] == [
        True,
        True,
        False,
    ]


def test_host_network_and_finished_pods_are_ignored() -> None:
    everyone = policy({}, ingress=[], egress=[])
    on_node = pod("node", "198.18.1.2", hostNetwork=True)
    ended = pod("ended", "198.19.1.9")
    ended["status"]["phase"] = "Succeeded"
    without_address = pod("without_address", "")
    assert list(chains(of(everyone, pods=(on_node, ended, without_address)))) == [CHAIN]


def test_ipv6_blocks_are_ignored() -> None:
    objects = of(
        policy({}, egress=[{"to": [{"ipBlock": {"cidr": "::/0", "except": ["fe80::/10"]}}]}])
    )
    assert not passes(objects, "198.19.1.2", "192.0.2.1", 80)


networks = st.builds(
    lambda address, prefix: str(ipaddress.ip_network((address, prefix), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(networks, st.lists(networks, max_size=3), st.data())
def test_ip_block_with_exceptions(cidr: str, excepted: list[str], data: st.DataObject) -> None:
    block = {"cidr": cidr, "except": excepted}
    objects = of(policy({"matchLabels": {"app": "alice"}}, egress=[{"to": [{"ipBlock": block}]}]))
    near = [ipaddress.ip_network(each) for each in (cidr, *excepted)]
    edges = [int(n[0]) + d for n in near for d in (-1, 0, 1)]
    edges += [int(n[-1]) + d for n in near for d in (-1, 0, 1)]
    target = ipaddress.IPv4Address(data.draw(st.sampled_from(edges)) % 2**32)
    # No policy isolates the receiving pods.
    wanted = target in near[0] and not any(target in hole for hole in near[1:])
    assert passes(objects, "198.19.1.2", str(target), 443) is wanted


def test_chains_of_deleted_pods_are_removed() -> None:
    objects = of(policy({}, ingress=[]))
    before = chains(objects)
    after = chains(of(policy({}, ingress=[]), pods=(ALICE,)))
    text = restore_text(after, before)
    gone = sorted(set(before) - set(after))
    assert len(gone) == 1
    assert f":{gone[0]} - [0:0]" in text.splitlines()
    assert f"-X {gone[0]}" in text.splitlines()
    assert text.startswith("*filter\n")
    assert text.endswith("COMMIT\n")
    assert restore_text(after, after) == restore_text(after, ())


def passing(servers: DnsServers, *others: dict[str, Any]) -> set[tuple[str, int]]:
    """The addresses and ports of DNS servers that an agent's policy allows."""
    made = TaskView("t", "work", "0f1e2d3c", 1, "1", datetime(2026, 1, 1, tzinfo=UTC), "a", {}, {})
    isolating = agent_network_policy(Plan(made, OrgSettings(), "o", "w", "m", dns=servers))
    isolating["metadata"]["uid"] = "p"
    agent = pod("agent", "198.19.1.9")
    agent["metadata"]["labels"] = selector(made)
    namespaces = tuple(
        {"metadata": {"name": name, "uid": name, "labels": {NAMESPACE_NAME: name}}}
        for name in ("work", "other", "kube-system", "openshift-dns")
    )
    objects = ClusterObjects(
        pods=(agent, BOB, EVE, *others), namespaces=namespaces, policies=(isolating,)
    )
    addresses = {"192.0.2.53", "169.254.20.10", "169.254.169.254", "8.8.8.8"}
    addresses |= {each["status"]["podIP"] for each in (BOB, EVE, *others)}
    reached = [
        {
            (address, port)
            for address in addresses
            for port in (53, 80, 443, 5353)
            if passes(objects, "198.19.1.9", address, port, protocol)
        }
        for protocol in ("udp", "tcp")
    ]
    assert reached[0] == reached[1]
    return reached[0]


def test_agent_reaches_only_its_dns_servers() -> None:
    servers = DnsServers(
        pods=(DnsPods("other", (("app", "eve"),), (5353,)),),
        addresses=(("192.0.2.53", 53), ("169.254.20.10", 53)),
    )
    expected = {("192.0.2.53", 53), ("169.254.20.10", 53), ("198.19.1.4", 5353)}
    assert passing(servers) == expected


def test_agent_reaches_the_dns_pods_of_each_distribution_by_default() -> None:
    core_dns = pod("coredns", "10.244.0.20", namespace="kube-system")
    core_dns["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    openshift = pod("dns-default", "10.128.0.9", namespace="openshift-dns")
    openshift["metadata"]["labels"] = {"dns.operator.openshift.io/daemonset-dns": "default"}
    pretender = pod("pretender", "198.19.1.66")
    pretender["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    found = passing(WELL_KNOWN, core_dns, openshift, pretender)
    assert {("10.244.0.20", 53), ("10.128.0.9", 5353), ("169.254.20.10", 53)} <= found
    assert {address for address, _ in found} == {"10.244.0.20", "10.128.0.9", "169.254.20.10"}
