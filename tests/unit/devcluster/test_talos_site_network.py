"""The addresses of Talos machines, and the patches that depend on them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster.talos import network, patches
from guildnet_devcluster.talos.network import MAX_MACHINES, SiteNetwork


@pytest.mark.parametrize("slot", [1, 254])
def test_machines_and_their_pods_have_addresses_of_their_own(slot: int) -> None:
    site = SiteNetwork(slot)
    addresses = {site.address(index) for index in range(MAX_MACHINES)} | {site.host_address}
    assert len(addresses) == MAX_MACHINES + 1
    assert all(IPv4Address(each) in IPv4Network(site.subnet) for each in addresses)
    pods = [IPv4Network(site.pod_subnet(index)) for index in range(MAX_MACHINES)]
    assert all(each.subnet_of(IPv4Network(site.all_pods)) for each in pods)
    assert not any(one.overlaps(other) for one in pods for other in pods if one is not other)


def test_links_of_sites_and_machines_differ_and_fit_the_kernel_s_limit() -> None:
    names = [SiteNetwork(slot).link(index) for slot in (1, 11, 254) for index in (0, 7)]
    names += [SiteNetwork(slot).bridge for slot in (1, 11, 254)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 15


@pytest.mark.parametrize("machines", [0, MAX_MACHINES + 1])
def test_a_site_has_at_least_a_control_plane_and_at_most_seven_workers(machines: int) -> None:
    network.check_count(MAX_MACHINES)
    with pytest.raises(ConfigurationError, match="0 to 7"):
        network.check_count(machines)


def test_machines_pull_only_from_their_own_registry() -> None:
    """Every registry is mirrored, without falling back to the internet."""
    machine = patches.for_all(SiteNetwork(3))["machine"]
    assert machine["registries"]["mirrors"] == {
        "*": {"endpoints": ["http://198.18.3.1:5000"], "skipFallback": True}
    }
    assert machine["kubelet"]["nodeIP"] == {"validSubnets": ["198.18.3.0/24"]}
