"""The addresses of Talos machines, the patches that depend on them, and their cgroups."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network

import pytest

from guildnet.errors import ConfigurationError
from guildnet.talos.patches import patch_problems
from guildnet_devcluster.components import TALOS_VERSION
from guildnet_devcluster.talos import network, patches
from guildnet_devcluster.talos.machine_init import hierarchies_in
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


@pytest.mark.parametrize("patch", [patches.for_all(SiteNetwork(1)), patches.for_control_planes()])
def test_an_org_may_commit_the_patches(patch: dict[str, object]) -> None:
    """They hold no secret, and only documents that Talos knows."""
    text = json.dumps(patch).encode()
    assert patch_problems(text, "orgs/acme/talos/lab.yaml", f"v{TALOS_VERSION}") == []


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0", [(".", "cgroup2", "")]),
        (
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
            "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
            "cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n"
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0",
            [("cpu,cpuacct", "cgroup", "cpu,cpuacct"), ("systemd", "cgroup", "name=systemd")],
        ),
    ],
    ids=["v2", "v1 with an empty v2"],
)
def test_a_machine_gets_the_hierarchies_of_its_host(
    mounts: str, found: list[tuple[str, str, str]]
) -> None:
    assert hierarchies_in(mounts) == found
