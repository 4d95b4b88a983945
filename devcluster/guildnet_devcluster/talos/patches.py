"""Patches of the machine configuration that this host's machines require. Pure.

A configuration without them describes a machine that pulls from the internet and has its own
kernel.
"""

from __future__ import annotations

from typing import Any

from .machine import Machine
from .network import SiteNetwork

#: TCP port of the site's registry, on the bridge's address.
REGISTRY_PORT = 5000


def for_all(site: SiteNetwork) -> dict[str, Any]:
    """The patch for every machine of the site."""
    registry = f"http://{site.host_address}:{REGISTRY_PORT}"
    return {
        "machine": {
            "registries": {"mirrors": {"*": {"endpoints": [registry], "skipFallback": True}}},
            "kubelet": {
                "nodeIP": {"validSubnets": [site.subnet]},
                "extraConfig": _KUBELET,
                "extraMounts": [
                    # Talos' own mount leaves out the hierarchies below it, which cgroup v1 has.
                    {
                        "destination": "/sys/fs/cgroup",
                        "source": "/sys/fs/cgroup",
                        "type": "bind",
                        "options": ["rbind", "rw"],
                    }
                ],
            },
            # The machines share the host's clock, and have no access to the internet.
            "time": {"disabled": True},
        },
        "cluster": {
            "discovery": {"enabled": False},
            # Pods are routed by the machines themselves.
            "network": {"cni": {"name": "none"}, "podSubnets": [site.all_pods]},
        },
    }


def for_control_planes() -> dict[str, Any]:
    """The patch for control planes; Talos refuses some of it for workers."""
    return {
        "cluster": {
            "allowSchedulingOnControlPlanes": True,
            # Not among the programs of a devcluster.
            "coreDNS": {"disabled": True},
            "proxy": {"mode": "iptables"},
            # Its ranges would not be those of the machines' pod networks.
            "controllerManager": {"extraArgs": {"allocate-node-cidrs": "false"}},
            # A disposable cluster may lose its last writes in a power failure.
            "etcd": {"extraArgs": {"unsafe-no-fsync": "true"}},
        }
    }


def for_machine(machine: Machine) -> dict[str, Any]:
    """The patch for one machine: its name."""
    return {
        "apiVersion": "v1alpha1",
        "kind": "HostnameConfig",
        "hostname": machine.name,
        "auto": "off",
    }


_KUBELET = {
    "failCgroupV1": False,
    "failSwapOn": False,
    # Talos serves its static pods over HTTP; the default of 20 s makes each start a minute longer.
    "httpCheckFrequency": "1s",
    # Developers' disks are often nearly full, and deleted images cannot be pulled again.
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
    "evictionHard": {
        "memory.available": "50Mi",
        "nodefs.available": "1%",
        "imagefs.available": "1%",
    },
}
