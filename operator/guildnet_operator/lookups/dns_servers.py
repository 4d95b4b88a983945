"""Which DNS servers agents may query: the cluster's own, as pods and as addresses. Pure.

A network plugin applies a NetworkPolicy to a Service's connection before or after it translates
the Service's address to a pod's. So both are allowed, each on the port that it is reached on.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from guildnet.addresses import dns_server_problem

PORT = 53
NAMESPACE = "kube-system"
SERVICE = "kube-dns"
SLICES_OF_SERVICE = f"kubernetes.io/service-name={SERVICE}"
#: NodeLocal DNSCache's default address.
NODE_LOCAL = ("169.254.20.10", PORT)

#: More would bloat every agent's policy; the selector of the pods covers the rest.
MAX_ADDRESSES = 64
_MAX_NAMESERVERS = 8
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9][-A-Za-z0-9_.]{0,62}")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,62})?")

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class DnsPods:
    """Pods by their namespace and labels, and the ports on which they serve DNS."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DnsServers:
    """Everything that agents may query; `addresses` are (address, port) pairs."""

    pods: tuple[DnsPods, ...] = ()
    addresses: tuple[Address, ...] = ()


_NODE_LOCAL_PODS = DnsPods(NAMESPACE, (("k8s-app", "node-local-dns"),), (PORT,))

_OPENSHIFT_PODS = DnsPods(
    "openshift-dns", (("dns.operator.openshift.io/daemonset-dns", "default"),), (5353,)
)

#: Where the Service cannot be read: the labels and ports that distributions give their DNS pods.
WELL_KNOWN = DnsServers(
    pods=(
        DnsPods(NAMESPACE, (("k8s-app", SERVICE),), (PORT, 5353, 8053)),
        _NODE_LOCAL_PODS,
        _OPENSHIFT_PODS,
    ),
    addresses=(NODE_LOCAL,),
)


def servers_of(service: Mapping[str, Any], slices: Iterable[Mapping[str, Any]]) -> DnsServers:
    """The servers of the DNS Service and its EndpointSlices; malformed parts are skipped."""
    spec = _mapping(service.get("spec"))
    names, target_ports = _dns_ports(spec)
    found = list(_endpoints(slices, names))
    ports = {port for _, port in found} or target_ports or {PORT}
    labels = _labels(spec.get("selector"))
    own = [(address, PORT) for address in _texts(spec.get("clusterIPs"))]
    pods = [DnsPods(NAMESPACE, labels, tuple(sorted(ports)))] if labels else []
    endpoints = _allowed(found)[:MAX_ADDRESSES]
    return DnsServers(
        (*pods, _NODE_LOCAL_PODS), tuple(sorted({*_allowed(own), NODE_LOCAL, *endpoints}))
    )


def nameservers(resolv_conf: str) -> tuple[Address, ...]:
    """The name servers of a pod's resolv.conf: those that the kubelet gives to every pod."""
    lines = (line.split() for line in resolv_conf.splitlines())
    found = [parts[1] for parts in lines if parts[:1] == ["nameserver"] and len(parts) > 1]
    return tuple(_allowed((address, PORT) for address in found[:_MAX_NAMESERVERS]))


def configured(given: Iterable[Address]) -> DnsServers:
    """The servers in the org's `spec.dns`, which replace all others."""
    return DnsServers(addresses=tuple(_allowed(given)))


def _dns_ports(spec: Mapping[str, Any]) -> tuple[set[str], set[int]]:
    """Names of the Service's ports that serve DNS, and their target ports that are numbers."""
    ports = [_mapping(port) for port in _list(spec.get("ports"))]
    dns = [port for port in ports if port.get("port") == PORT]
    numbers = {port["targetPort"] for port in dns if _is_port(port.get("targetPort"))}
    return {str(port.get("name") or "") for port in dns}, numbers


def _endpoints(slices: Iterable[Mapping[str, Any]], names: set[str]) -> Iterator[Address]:
    for found in slices:
        ports = [_mapping(port) for port in _list(found.get("ports"))]
        numbers = [
            port["port"]
            for port in ports
            if str(port.get("name") or "") in names and _is_port(port.get("port"))
        ]
        for endpoint in _list(found.get("endpoints")):
            for address in _texts(_mapping(endpoint).get("addresses")):
                yield from ((address, number) for number in numbers)


def _allowed(addresses: Iterable[Address]) -> list[Address]:
    """The addresses that may be allowed, sorted, each once."""
    return sorted({found for given in addresses for found in _if_allowed(*given)})


def _if_allowed(address: str, port: int) -> Iterator[Address]:
    with suppress(ValueError):
        if "%" not in address and dns_server_problem(address, port) is None:
            yield str(ipaddress.ip_address(address)), port


def _labels(selector: Any) -> tuple[tuple[str, str], ...]:
    pairs = _mapping(selector).items()
    if not all(isinstance(value, str) for _, value in pairs):
        return ()
    good = all(_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(v) for key, v in pairs)
    return tuple(sorted(pairs)) if good else ()


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [text for text in _list(value) if isinstance(text, str)]
