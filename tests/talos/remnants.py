"""What a site has on this host besides its data."""

from __future__ import annotations

import subprocess
from pathlib import Path

from guildnet_devcluster import processes, teardown
from guildnet_devcluster.talos.site import Site


def remnants(lab: Site) -> set[str]:
    """Processes, mounts, links, namespaces, cgroups and packet filter rules of a site."""
    rules = subprocess.run(["iptables-save"], capture_output=True, check=True, text=True).stdout
    layout, bridge = lab.layout, lab.network.bridge
    return {
        *(f"process {each.pid}" for each in processes.strays(layout)),
        *(str(path) for path in teardown.mounts_of(layout)),
        *(str(path) for path in Path("/run/netns").glob(f"{layout.netns.name}.*")),
        *(str(path) for path in Path("/sys/fs/cgroup").rglob(layout.cgroup)),
        *(str(path) for path in Path("/sys/class/net").glob(f"{bridge}*")),
        *(line for line in rules.splitlines() if f" {bridge} " in line),
    }
