"""NetworkPolicies as the node's packet filter rules: pure, from what the API server holds.

The semantics are those of networking.k8s.io/v1: a pod that a policy selects is closed in that
direction but for what some policy opens; policies only add. IPv4 alone, as the node's pods have.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: Where every packet to or from a pod passes; the pods' own chains have its name before theirs.
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
    """Each chain by its name with its rules, in `iptables-save`'s words without `-A CHAIN`.

    A packet that a chain lets pass returns from it: the receiving pod has a word as well.
    """
    found: dict[str, list[str]] = {
        CHAIN: ["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"],
    }
    for pod in filter(_is_filtered, objects.pods):
        for direction, side in ((_EGRESS, "-s"), (_INGRESS, "-d")):
            closing = [each for each in objects.policies if _closes(each, pod, direction)]
            if closing:
                name = _chain_name(pod, direction)
                found[CHAIN].append(f"{side} {_address(pod)}/32 -j {name}")
                opened = (_openings(each, pod, direction, objects) for each in closing)
                rules = dict.fromkeys(rule for each in opened for rule in each)
                found[name] = [*(f"{rule} -j RETURN".lstrip() for rule in rules), "-j DROP"]
    return found


def restore_text(wanted: Mapping[str, list[str]], had: Iterable[str]) -> str:
    """What `iptables-restore --noflush` takes to have `wanted` in place of the chains `had`."""
    gone = sorted(set(had) - set(wanted))
    lines = ["*filter", *(f":{name} - [0:0]" for name in (*wanted, *gone))]
    lines += [f"-A {name} {rule}" for name, rules in wanted.items() for rule in rules]
    lines += [f"-X {name}" for name in gone]
    return "\n".join((*lines, "COMMIT", ""))


def _is_filtered(pod: _Document) -> bool:
    """Whether `pod` has an address of its own, and is not over."""
    status = pod.get("status", {})
    is_own = not pod["spec"].get("hostNetwork")
    return bool(is_own and status.get("podIP") and status.get("phase") not in _ENDED)


def _closes(policy: _Document, pod: _Document, direction: str) -> bool:
    spec = policy["spec"]
    # The API server fills in the types; Egress is in them only where it is meant.
    is_direction = direction in spec.get("policyTypes", [_INGRESS])
    is_near = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return is_direction and is_near and _selects(spec.get("podSelector", {}), pod)


def _openings(
    policy: _Document, pod: _Document, direction: str, objects: ClusterObjects
) -> Iterator[str]:
    """The matches of the packets that `policy` lets pass to or from `pod`."""
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
    """(network, its pod where it is one's) of each peer; the empty network is everywhere."""
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
    """The port that `pod` calls `name`; a name means nothing outside of pods."""
    containers = pod["spec"]["containers"] if pod else []
    for port in (port for each in containers for port in each.get("ports", [])):
        if port.get("name") == name and port.get("protocol", "TCP").lower() == protocol:
            return int(port["containerPort"])
    return None


def _without(cidr: str, excepted: Iterable[str]) -> list[str]:
    """`cidr` less the networks `excepted`, as networks; none for IPv6."""
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


def _selects(selector: _Document, thing: _Document) -> bool:
    """Whether the label selector matches; the empty one matches everything."""
    labels = thing["metadata"].get("labels") or {}
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
    # A chain's name has at most 28 characters.
    digest = hashlib.sha256(pod["metadata"]["uid"].encode()).hexdigest()[:12]
    return f"{CHAIN}-{direction[0]}-{digest}"
