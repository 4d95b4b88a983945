"""Which connections to and from an agent are allowed. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from guildnet import labels
from guildnet.addresses import is_forbidden
from guildnet_operator.lookups.dns_servers import DnsServers
from guildnet_operator.manifests.metadata import Plan, child, selector

#: A relay of a mesh answers STUN here (RFC 8489); a peer without an answer waits 4 s to use it.
_STUN_PORT = 3478
_NAMESPACE_NAME = "kubernetes.io/metadata.name"  # set on every namespace by the API server


def agent_network_policy(plan: Plan) -> dict[str, Any]:
    """Ingress: the agent API, which needs its key, and the editor. Egress: the cluster's DNS
    servers and the org's egress, with STUN for the relays of a mesh."""
    ports = [labels.AGENT_PORT, labels.EDITOR_PORT]
    spec = {
        "podSelector": {"matchLabels": selector(plan.task)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in ports]}],
        "egress": [*_dns(plan.dns), *_destinations(plan)],
    }
    return child(plan, "networking.k8s.io/v1", "NetworkPolicy", {"spec": spec})


def _dns(servers: DnsServers) -> Iterator[dict[str, Any]]:
    for pods in servers.pods:
        peer = {
            "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: pods.namespace}},
            "podSelector": {"matchLabels": dict(pods.labels)},
        }
        yield {"to": [peer], "ports": _both_protocols(*pods.ports)}
    for port, blocks in _by_port(servers.addresses):
        yield {"to": blocks, "ports": _both_protocols(port)}


def _both_protocols(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": name, "port": port} for port in ports for name in ("UDP", "TCP")]


def _destinations(plan: Plan) -> Iterator[dict[str, Any]]:
    relays = plan.mesh.address[1] if plan.mesh else None
    allowed = ((address, port) for address, port in plan.egress if not is_forbidden(address))
    for port, blocks in _by_port(allowed):
        ports = [{"protocol": "TCP", "port": port}]
        if port == relays:
            ports.append({"protocol": "UDP", "port": _STUN_PORT})
        yield {"to": blocks, "ports": ports}


def _by_port(
    addresses: Iterable[tuple[str, int]],
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The addresses of each port as sorted peers, so that equal input gives equal bytes."""
    by_port: dict[int, set[str]] = defaultdict(set)
    for address, port in addresses:
        by_port[port].add(str(ipaddress.ip_network(address)))
    for port, cidrs in sorted(by_port.items()):
        yield port, [{"ipBlock": {"cidr": cidr}} for cidr in sorted(cidrs)]
