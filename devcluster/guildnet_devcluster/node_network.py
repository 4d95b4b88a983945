"""The node's network: a network namespace, a link to the host, addresses, routes and NAT.

Each node has its own network namespace, so several nodes on one machine do not share iptables
chains, bridges or pod networks. Addresses are in 198.18.0.0/15, which no real network uses
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
#: The kernel settings before the first node, restored by the last `down`.
_KERNEL_BEFORE = RUNTIME / "kernel.json"
_ALL_NODES = "198.18.0.0/15"
#: Every host link of a devcluster, for iptables.
ANY_LINK = "gn-+"


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """The addresses of the node in a slot, 1 to 254."""

    slot: int

    @property
    def host_address(self) -> str:
        """The host's end of the link, where pods reach servers on the host."""
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
    """Claim a slot for this cluster, `preferred` if it is free.

    Raises ConfigurationError if another state directory has a node of the same name, or if no slot
    is free.
    """
    with exclusive(_LOCK):
        _SLOTS.mkdir(exist_ok=True)
        taken = {int(file.name): file.read_text() for file in _SLOTS.iterdir()}
        for slot, data in taken.items():
            if data == str(layout.data):
                return NodeNetwork(slot)
            if Path(data).name == layout.name:
                raise ConfigurationError(
                    f"another cluster {layout.name} with a node has its data in {data}",
                    place=f"devcluster {layout.name}",
                    cure="Choose another name, or run down with that cluster's GUILDNET_STATE_DIR.",
                )
        for slot in (preferred, *range(1, 255)):
            if slot and slot not in taken:
                (_SLOTS / str(slot)).write_text(str(layout.data))
                sysctls.save(_KERNEL_BEFORE)
                return NodeNetwork(slot)
    raise ConfigurationError(
        "254 nodes are running already", place="devcluster", cure="Run down for some of them."
    )


def claimed_slot(layout: Layout) -> int:
    """The slot claimed by this cluster, 0 for none."""
    for file in _SLOTS.glob("*"):
        # Another cluster may release its slot between listing and reading.
        with suppress(FileNotFoundError):
            if file.read_text() == str(layout.data):
                return int(file.name)
    return 0


def release_slot(slot: int) -> None:
    """Release the slot; releasing the last one restores the kernel settings."""
    with exclusive(_LOCK):
        (_SLOTS / str(slot)).unlink(missing_ok=True)
        if any(_SLOTS.iterdir()):
            return
        sysctls.restore(_KERNEL_BEFORE)
        _SLOTS.rmdir()
        _LOCK.unlink()
        # The folder may contain other files.
        with suppress(OSError):
            RUNTIME.rmdir()


def build(layout: Layout, network: NodeNetwork, *, isolated: bool = False) -> None:
    """Create namespace, link, routes and NAT. Raises GuildNetError naming the failed command.

    An isolated one reaches, and is reached by, only this machine and the nodes and pods on it.
    """
    namespace, link = layout.netns.name, network.host_link
    node_ip = ["ip", "-n", namespace]
    run(["ip", "netns", "add", namespace])
    run(["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace])
    run(["ip", "address", "add", f"{network.host_address}/30", "dev", link])
    run(["ip", "link", "set", link, "up"])
    run([*node_ip, "link", "set", "lo", "up"])
    run([*node_ip, "address", "add", f"{network.node_address}/30", "dev", "eth0"])
    run([*node_ip, "link", "set", "eth0", "up"])
    outside = _ALL_NODES if isolated else "default"
    run([*node_ip, "route", "add", outside, "via", network.host_address])
    run(["ip", "route", "add", network.pod_subnet, "via", network.node_address])
    forward = "echo 1 >/proc/sys/net/ipv4/ip_forward"
    run([*inside(layout), "sh", "-c", forward])
    for rule in _rules(network):
        rule.append()


def inside(layout: Layout) -> list[str]:
    """The command prefix that runs a program in the node's network namespace.

    Not `ip netns exec`: it also creates a mount namespace, in which containerd would not see the
    volumes that the kubelet mounts.
    """
    return ["nsenter", f"--net={layout.netns}"]


def remove(layout: Layout, network: NodeNetwork) -> None:
    """Remove everything that `build` created, as far as it exists."""
    if layout.netns.exists():
        run(["ip", "netns", "delete", layout.netns.name])
    # Its routes are removed with it. Deleting the namespace also removes it, but only later.
    delete_link(network.host_link)
    for rule in _rules(network):
        rule.delete()


class Rule:
    """One iptables rule.

    Appended rules come after the host's own. That suffices on hosts whose FORWARD policy is DROP,
    such as those with Docker: the policy applies after all rules.
    """

    def __init__(self, table: str, chain: str, *match: str) -> None:
        self._table, self._chain, self._match = table, chain, match

    def append(self) -> None:
        """Raises GuildNetError if iptables refuses it."""
        run(["iptables", "--wait", *self._arguments("--append")])

    def delete(self) -> None:
        """Delete every copy of the rule."""
        while _succeeds(self._arguments("--check")):
            run(["iptables", "--wait", *self._arguments("--delete")])

    def _arguments(self, verb: str) -> list[str]:
        return ["--table", self._table, verb, self._chain, *self._match]


def delete_link(name: str) -> None:
    """Delete a link if it exists."""
    if (Path("/sys/class/net") / name).exists():
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def _rules(network: NodeNetwork) -> list[Rule]:
    link = network.host_link
    outside = ["!", "--destination", _ALL_NODES, "--jump", "MASQUERADE"]
    return [
        Rule("nat", "POSTROUTING", "--source", network.pod_subnet, *outside),
        Rule("nat", "POSTROUTING", "--source", network.link_subnet, *outside),
        Rule("filter", "FORWARD", "--in-interface", link, "--jump", "ACCEPT"),
        Rule("filter", "FORWARD", "--out-interface", link, "--jump", "ACCEPT"),
    ]


def _succeeds(check: Sequence[str]) -> bool:
    try:
        return (
            subprocess.run(
                ["iptables", "--wait", *check], capture_output=True, check=False
            ).returncode
            == 0
        )
    except FileNotFoundError:
        return False


def run(command: Sequence[str]) -> None:
    """Run a command. Raises GuildNetError with the end of its output if it fails."""
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise GuildNetError(
            f"`{' '.join(command)}` failed: {done.stderr.strip()[-300:]}",
            place="the node's network",
            cure="A node requires root and network namespaces; --no-node requires neither.",
        )
