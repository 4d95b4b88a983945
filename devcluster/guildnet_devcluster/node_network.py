"""The node's network: a namespace of its own, a link to the host, addresses, routes and NAT.

Each node lives in its own network namespace, so that several on one machine never meet in iptables
chains, bridges or pod networks. Addresses are from 198.18.0.0/15, which no real network uses
(RFC 2544).
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guildnet.errors import ConfigurationError, GuildNetError

from . import sysctls
from .build_cache import exclusive
from .layout import RUNTIME, Layout

_SLOTS = RUNTIME / "slots"
_LOCK = RUNTIME / "slots.lock"
#: The kernel's settings before the first node, so that the last `down` can put them back.
_KERNEL_BEFORE = RUNTIME / "kernel.json"
_ALL_NODES = "198.18.0.0/15"


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """The addresses that go with a slot, 1 to 254."""

    slot: int

    @property
    def host_address(self) -> str:
        """The host's end of the link: here pods reach servers of the host."""
        return f"198.18.{self.slot}.1"

    @property
    def node_address(self) -> str:
        return f"198.18.{self.slot}.2"

    @property
    def link_subnet(self) -> str:
        return f"198.18.{self.slot}.0/30"

    @property
    def pod_subnet(self) -> str:
        return f"198.19.{self.slot}.0/24"

    @property
    def host_link(self) -> str:
        return f"gn-{self.slot}"


def claim_slot(layout: Layout, preferred: int) -> NodeNetwork:
    """A slot of the machine for this cluster alone, `preferred` where it is free.

    Raises ConfigurationError when another state directory has a node of the same name, or no slot
    is left.
    """
    with exclusive(_LOCK):
        _SLOTS.mkdir(exist_ok=True)
        taken = {int(file.name): file.read_text() for file in _SLOTS.iterdir()}
        for slot, data in taken.items():
            if data == str(layout.data):
                return NodeNetwork(slot)
            if Path(data).name == layout.name:
                raise ConfigurationError(
                    f"a cluster {layout.name} with a node runs from {data}",
                    place=f"devcluster {layout.name}",
                    cure="take another name, or take that one down with its GUILDNET_STATE_DIR",
                )
        for slot in (preferred, *range(1, 255)):
            if slot and slot not in taken:
                (_SLOTS / str(slot)).write_text(str(layout.data))
                sysctls.save(_KERNEL_BEFORE)
                return NodeNetwork(slot)
    raise ConfigurationError("254 nodes run already", place="devcluster", cure="take some down")


def claimed_slot(layout: Layout) -> int:
    """The slot this cluster holds, 0 for none."""
    for file in _SLOTS.glob("*"):
        # Another cluster's may go between the listing and the reading.
        with suppress(FileNotFoundError):
            if file.read_text() == str(layout.data):
                return int(file.name)
    return 0


def release_slot(slot: int) -> None:
    """Give the slot back; the last one puts the kernel's settings back as they were."""
    with exclusive(_LOCK):
        (_SLOTS / str(slot)).unlink(missing_ok=True)
        if any(_SLOTS.iterdir()):
            return
        sysctls.restore(_KERNEL_BEFORE)
        _SLOTS.rmdir()
        _LOCK.unlink()
        # Somebody else may keep things here.
        with suppress(OSError):
            RUNTIME.rmdir()


def build(layout: Layout, network: NodeNetwork) -> None:
    """Make namespace, link, routes and NAT. Raises GuildNetError naming the command that fails."""
    namespace, link = layout.netns.name, network.host_link
    node_ip = ["ip", "-n", namespace]
    _run(["ip", "netns", "add", namespace])
    _run(["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace])
    _run(["ip", "address", "add", f"{network.host_address}/30", "dev", link])
    _run(["ip", "link", "set", link, "up"])
    _run([*node_ip, "link", "set", "lo", "up"])
    _run([*node_ip, "address", "add", f"{network.node_address}/30", "dev", "eth0"])
    _run([*node_ip, "link", "set", "eth0", "up"])
    _run([*node_ip, "route", "add", "default", "via", network.host_address])
    _run(["ip", "route", "add", network.pod_subnet, "via", network.node_address])
    forward = "echo 1 >/proc/sys/net/ipv4/ip_forward"
    _run([*inside(layout), "sh", "-c", forward])
    for rule in _rules(network):
        _run(["iptables", "--wait", *rule("--append")])


def inside(layout: Layout) -> list[str]:
    """What to put before a command to run it in the node's network.

    Not `ip netns exec`: that gives each command a mount namespace of its own, and containerd would
    not see the volumes that the kubelet mounts.
    """
    return ["nsenter", f"--net={layout.netns}"]


def remove(layout: Layout, network: NodeNetwork) -> None:
    """Remove whatever `build` made, or part of it. Nothing there is no error."""
    if layout.netns.exists():
        _run(["ip", "netns", "delete", layout.netns.name])
    # The link's routes go with it. A namespace's end removes it too, but only some time later.
    if (Path("/sys/class/net") / network.host_link).exists():
        subprocess.run(
            ["ip", "link", "delete", network.host_link], capture_output=True, check=False
        )
    for rule in _rules(network):
        while _is_there(rule("--check")):
            _run(["iptables", "--wait", *rule("--delete")])


class _Rule:
    """One iptables rule, to be appended, checked or deleted."""

    def __init__(self, table: str, chain: str, *match: str) -> None:
        self._table, self._chain, self._match = table, chain, match

    def __call__(self, verb: str) -> list[str]:
        return ["--table", self._table, verb, self._chain, *self._match]


def _rules(network: NodeNetwork) -> list[_Rule]:
    # Where the host's own firewall drops what it forwards, accepting comes too late behind its
    # rules; hosts with such a policy (Docker's) end in it, so that appended rules are still met.
    link = network.host_link
    outside = ["!", "--destination", _ALL_NODES, "--jump", "MASQUERADE"]
    return [
        _Rule("nat", "POSTROUTING", "--source", network.pod_subnet, *outside),
        _Rule("nat", "POSTROUTING", "--source", network.link_subnet, *outside),
        _Rule("filter", "FORWARD", "--in-interface", link, "--jump", "ACCEPT"),
        _Rule("filter", "FORWARD", "--out-interface", link, "--jump", "ACCEPT"),
    ]


def _is_there(check: Sequence[str]) -> bool:
    try:
        return (
            subprocess.run(
                ["iptables", "--wait", *check], capture_output=True, check=False
            ).returncode
            == 0
        )
    except FileNotFoundError:
        return False


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise GuildNetError(
            f"`{' '.join(command)}` failed: {done.stderr.strip()[-300:]}",
            place="the node's network",
            cure="a node needs root and the kernel's network namespaces; --no-node needs neither",
        )
