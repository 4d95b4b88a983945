"""Translates NetworkPolicies into iptables rules. Pure.

The semantics are those of networking.k8s.io/v1: a pod selected by a policy is isolated in the
policy's directions, except for what some policy allows; policies are additive. IPv4 only, because
pods of the node have no other addresses.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: The chain that every packet from or to a pod passes; the names of pods' chains start with it.
CHAIN = "GN-POLICY"
_INGRESS, _EGRESS = "Ingress", "Egress"
_ENDED = ("Succeeded", "Failed")
_Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClusterObjects:
    """Pods, namespaces and policies as the API server lists them."""

    pods: tuple[_Document, ...] = ()
    namespaces: tuple[_Document, ...] = ()
    policies: tuple[_Document, ...] = ()


def chains(objects: ClusterObjects) -> dict[str, list[str]]:
    """Chain name -> rules, in the syntax of `iptables-save` without `-A CHAIN`.

    A chain returns for an allowed packet, because the receiving pod's chain must allow it too.
    """
    found: dict[str, list[str]] = {
        CHAIN: ["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"],
    }
    for pod in filter(_is_filtered, objects.pods):
        for direction, side in ((_EGRESS, "-s"), (_INGRESS, "-d")):
            isolating = [each for each in objects.policies if _isolates(each, pod, direction)]
            if isolating:
                name = _chain_name(pod, direction)
                found[CHAIN].append(f"{side} {_address(pod)}/32 -j {name}")
                allowed = (_allowed(each, pod, direction, objects) for each in isolating)
                rules = dict.fromkeys(rule for each in allowed for rule in each)
                found[name] = [*(f"{rule} -j RETURN".lstrip() for rule in rules), "-j DROP"]
    return found


def restore_text(wanted: Mapping[str, list[str]], had: Iterable[str]) -> str:
    """The input of `iptables-restore --noflush` that replaces the chains `had` by `wanted`."""
    gone = sorted(set(had) - set(wanted))
    lines = ["*filter", *(f":{name} - [0:0]" for name in (*wanted, *gone))]
    lines += [f"-A {name} {rule}" for name, rules in wanted.items() for rule in rules]
    lines += [f"-X {name}" for name in gone]
    return "\n".join((*lines, "COMMIT", ""))


def _is_filtered(pod: _Document) -> bool:
    """Whether `pod` has its own address and has not finished."""
    status = pod.get("status", {})
    is_own = not pod["spec"].get("hostNetwork")
    return bool(is_own and status.get("podIP") and status.get("phase") not in _ENDED)


def _isolates(policy: _Document, pod: _Document, direction: str) -> bool:
    spec = policy["spec"]
    # The API server sets the types; they contain Egress only if the policy has egress rules.
    is_direction = direction in spec.get("policyTypes", [_INGRESS])
    is_near = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return is_direction and is_near and _selects(spec.get("podSelector", {}), pod)


def _allowed(
    policy: _Document, pod: _Document, direction: str, objects: ClusterObjects
) -> Iterator[str]:
    """The matches of the packets that `policy` allows to or from `pod`."""
    peers_key, side = ("from", "-s") if direction == _INGRESS else ("to", "-d")
    for rule in policy["spec"].get(direction.lower()) or []:
        for address, peer in _peers(rule.get(peers_key), policy, objects):
            place = f"{side} {address}" if address else ""
            receiver = pod if direction == _INGRESS else peer
            for port in _ports(rule.get("ports"), receiver):
                yield f"{place} {port}".strip()


def _peers(
    peers: list[_Document] | None, policy: _Document, objects: ClusterObjects
) -> Iterator[tuple[str, _Document | None]]:
    """(network, pod or None) of each peer; the empty network matches every address."""
    if not peers:
        yield "", None
    for peer in peers or []:
        if block := peer.get("ipBlock"):
            for network in _without(block["cidr"], block.get("except") or []):
                yield network, None
        else:
            for pod in _selected(peer, policy, objects):
                yield f"{_address(pod)}/32", pod


def _selected(peer: _Document, policy: _Document, objects: ClusterObjects) -> Iterator[_Document]:
    near = policy["metadata"]["namespace"]
    if (of_namespace := peer.get("namespaceSelector")) is not None:
        names = {
            each["metadata"]["name"] for each in objects.namespaces if _selects(of_namespace, each)
        }
    else:
        names = {near}
    for pod in filter(_is_filtered, objects.pods):
        is_in = pod["metadata"]["namespace"] in names
        if is_in and _selects(peer.get("podSelector") or {}, pod):
            yield pod


def _ports(ports: list[_Document] | None, receiver: _Document | None) -> Iterator[str]:
    if not ports:
        yield ""
    for port in ports or []:
        protocol = port.get("protocol", "TCP").lower()
        number = port.get("port")
        if isinstance(number, str):
            number = _named(receiver, number, protocol)
            if number is None:
                continue
        if number is None:
            yield f"-p {protocol}"
        else:
            last = f":{port['endPort']}" if "endPort" in port else ""
            yield f"-p {protocol} -m {protocol} --dport {number}{last}"


def _named(pod: _Document | None, name: str, protocol: str) -> int | None:
    """The number of the pod's port `name`; names are defined only for pods."""
    containers = pod["spec"]["containers"] if pod else []
    for port in (port for each in containers for port in each.get("ports", [])):
        if port.get("name") == name and port.get("protocol", "TCP").lower() == protocol:
            return int(port["containerPort"])
    return None


def _without(cidr: str, excepted: Iterable[str]) -> list[str]:
    """`cidr` without the networks `excepted`, as networks; none for IPv6."""
    whole = ipaddress.ip_network(cidr, strict=False)
    if not isinstance(whole, ipaddress.IPv4Network):
        return []
    left = [whole]
    for each in excepted:
        hole = ipaddress.IPv4Network(each, strict=False)
        left = [
            part
            for network in left
            for part in (network.address_exclude(hole) if hole.subnet_of(network) else [network])
            if not part.subnet_of(hole)
        ]
    return [str(network) for network in sorted(left)]


def _selects(selector: _Document, labelled: _Document) -> bool:
    """Whether the label selector matches; the empty selector matches everything."""
    labels = labelled["metadata"].get("labels") or {}
    exactly = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in exactly.items()):
        return False
    return all(_is_met(each, labels) for each in selector.get("matchExpressions") or [])


def _is_met(requirement: _Document, labels: Mapping[str, str]) -> bool:
    key, values = requirement["key"], requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _address(pod: _Document) -> str:
    return str(pod["status"]["podIP"])


def _chain_name(pod: _Document, direction: str) -> str:
    # The name of a chain has at most 28 characters.
    digest = hashlib.sha256(pod["metadata"]["uid"].encode()).hexdigest()[:12]
    return f"{CHAIN}-{direction[0]}-{digest}"
