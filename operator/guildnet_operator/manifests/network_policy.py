"""What may reach an agent and what it may reach: everything else is closed."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from guildnet import labels
from guildnet.addresses import is_forbidden
from guildnet_operator.manifests.metadata import Plan, child, selector

_DNS = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
_LINK_LOCAL = (
    {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]},
    {"cidr": "::/0", "except": ["fe80::/10"]},
)


def agent_network_policy(plan: Plan) -> dict[str, Any]:
    """In: the agent API, which its key guards, and the editor. Out: DNS and the org's openings."""
    ports = [labels.AGENT_PORT, labels.EDITOR_PORT]
    spec = {
        "podSelector": {"matchLabels": selector(plan.task)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in ports]}],
        "egress": [
            {"to": [{"ipBlock": block} for block in _LINK_LOCAL], "ports": _DNS},
            *_openings(plan.egress),
        ],
    }
    return child(plan, "networking.k8s.io/v1", "NetworkPolicy", {"spec": spec})


def _openings(egress: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    """One rule for each port, its addresses sorted: the same openings give the same bytes."""
    by_port: dict[int, set[str]] = defaultdict(set)
    for address, port in egress:
        if not is_forbidden(address):
            by_port[port].add(str(ipaddress.ip_network(address)))
    return [
        {
            "to": [{"ipBlock": {"cidr": cidr}} for cidr in sorted(cidrs)],
            "ports": [{"protocol": "TCP", "port": port}],
        }
        for port, cidrs in sorted(by_port.items())
    ]
