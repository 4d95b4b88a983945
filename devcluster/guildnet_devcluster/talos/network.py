"""The network of a site's machines: a bridge, and a network namespace for each machine.

The machines reach each other over the bridge, and servers on this host that listen on the bridge's
address. Nothing leaves through the host's other interfaces, except to other devclusters' nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.node_network import ANY_LINK, Rule, delete_link, run

#: A site's /24 for pods is divided into one subnet for each machine.
MAX_MACHINES = 8
_POD_PREFIX = 27


@dataclass(frozen=True, slots=True)
class SiteNetwork:
    """The addresses of the site in a slot, 1 to 254; machines have an index from 0."""

    slot: int

    @property
    def host_address(self) -> str:
        """The bridge's address, where machines and pods reach servers on this host."""
        return f"198.18.{self.slot}.1"

    @property
    def subnet(self) -> str:
        return f"198.18.{self.slot}.0/24"

    @property
    def all_pods(self) -> str:
        return f"198.19.{self.slot}.0/24"

    @property
    def bridge(self) -> str:
        return f"gn-{self.slot}"

    def address(self, index: int) -> str:
        return f"198.18.{self.slot}.{index + 2}"

    def pod_subnet(self, index: int) -> str:
        return str(list(IPv4Network(self.all_pods).subnets(new_prefix=_POD_PREFIX))[index])

    def link(self, index: int) -> str:
        """The host's end of the machine's link."""
        return f"gn-{self.slot}-{index}"


def check_count(machines: int) -> None:
    """Raises ConfigurationError if a site cannot have so many machines."""
    if not 1 <= machines <= MAX_MACHINES:
        raise ConfigurationError(
            f"{machines - 1} workers: a site has 0 to {MAX_MACHINES - 1}",
            place="devcluster",
            cure=f"Use --workers 0 to --workers {MAX_MACHINES - 1}.",
        )


def namespace(layout: Layout, machine: str) -> Path:
    """The network namespace; no cluster's name contains a dot, so it is nobody else's."""
    return layout.netns.with_name(f"{layout.netns.name}.{machine}")


def build(layout: Layout, network: SiteNetwork, machines: Sequence[str]) -> None:
    """Create the bridge, and namespace, link and routes of each machine.

    Raises GuildNetError naming the failed command.
    """
    bridge = network.bridge
    run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "address", "add", f"{network.host_address}/24", "dev", bridge])
    run(["ip", "link", "set", bridge, "up"])
    for rule in _rules(network):
        rule.append()
    for index, machine in enumerate(machines):
        _attach(namespace(layout, machine).name, network, index, len(machines))
        route = [network.pod_subnet(index), "via", network.address(index)]
        run(["ip", "route", "add", *route])


def _attach(netns: str, network: SiteNetwork, index: int, count: int) -> None:
    link, inside = network.link(index), ["ip", "-n", netns]
    run(["ip", "netns", "add", netns])
    run(["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", netns])
    run(["ip", "link", "set", link, "master", network.bridge, "up"])
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "address", "add", f"{network.address(index)}/24", "dev", "eth0"])
    run([*inside, "link", "set", "eth0", "up"])
    run([*inside, "route", "add", "default", "via", network.host_address])
    for other in range(count):
        if other != index:
            route = [network.pod_subnet(other), "via", network.address(other)]
            run([*inside, "route", "add", *route])


def remove(layout: Layout, slot: int) -> None:
    """Remove everything that `build` created, as far as it exists, apart from the bridge.

    The bridge has the name of a node's link, which `node_network.remove` deletes.
    """
    for netns in layout.netns.parent.glob(f"{layout.netns.name}.*"):
        run(["ip", "netns", "delete", netns.name])
    for link in Path("/sys/class/net").glob(f"gn-{slot}-*"):
        delete_link(link.name)
    for rule in _rules(SiteNetwork(slot)):
        rule.delete()


def _rules(network: SiteNetwork) -> list[Rule]:
    bridge = ["--in-interface", network.bridge]
    return [
        Rule("filter", "FORWARD", *bridge, "--out-interface", ANY_LINK, "--jump", "ACCEPT"),
        Rule(
            *("filter", "FORWARD", "--in-interface", ANY_LINK),
            *("--out-interface", network.bridge, "--jump", "ACCEPT"),
        ),
        Rule("filter", "FORWARD", *bridge, "--jump", "REJECT"),
    ]
