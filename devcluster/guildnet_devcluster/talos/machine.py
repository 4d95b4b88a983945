"""One Talos machine: its folders, and its start and stop as a process of this host."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet_devcluster import cgroups, processes
from guildnet_devcluster.layout import Layout

from . import network
from .network import SiteNetwork

#: Folders of the machine that are kept over reboots besides /var, filled from the root on the first
#: start. containerd's and etcd's data cannot lie in the overlay of the root.
KEPT = ("etc/cni", "etc/kubernetes", "opt", "usr/libexec/kubernetes")
#: Where each machine sees the site's volumes; Talos shows /var/mnt to its kubelet.
VOLUMES = "/var/mnt/guildnet"
_STOP_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of a site. `name` is also the name of its node in clusters that `up` makes."""

    name: str
    index: int
    #: The address of its Talos API and, on a control plane, of Kubernetes' API.
    address: str


def process_name(machine: str) -> str:
    """The name of a machine's process record, and of its log, which is Talos' console."""
    return f"machine-{machine}"


def folder(layout: Layout, machine: Machine) -> Path:
    """The folder with the machine's data."""
    return layout.data / "machines" / machine.name


def cgroup(layout: Layout, machine: Machine) -> str:
    """The machine's root cgroup, within the one of its site."""
    return f"{layout.cgroup}/{machine.name}"


def start(layout: Layout, site: SiteNetwork, machine: Machine, rootfs: Path) -> processes.Process:
    """Boot the machine: in maintenance mode, or with the configuration of its earlier life."""
    own = folder(layout, machine)
    _prepare(own, site, machine, rootfs)
    cgroups.create(layout.cgroup)
    cgroups.create(cgroup(layout, machine))
    layout.volumes.mkdir(parents=True, exist_ok=True)
    settings = {
        "name": machine.name,
        "folder": str(own),
        "rootfs": str(rootfs),
        "volumes": str(layout.volumes),
        "cgroup": cgroup(layout, machine),
        "netns": str(network.namespace(layout, machine.name)),
    }
    file = own / "machine.json"
    file.write_text(json.dumps(settings, indent=1))
    argv = [sys.executable, "-m", "guildnet_devcluster.talos.machine_init", "outside", str(file)]
    return processes.start(layout, process_name(machine.name), argv)


def stop(layout: Layout, machine: Machine) -> None:
    """Power the machine off at once; every process in it is gone on return. Its data is kept."""
    name = process_name(machine.name)
    processes.stop([each for each in processes.recorded(layout) if each.name == name], timedelta())
    cgroups.remove(cgroup(layout, machine), _STOP_TIMEOUT)
    processes.forget(layout)


def _prepare(own: Path, site: SiteNetwork, machine: Machine, rootfs: Path) -> None:
    for name in ("root", "state", "var"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "state").chmod(0o700)
    # Talos' root is new at each boot.
    for name in ("upper", "work"):
        subprocess.run(["rm", "-rf", "--", str(own / name)], check=True)
        (own / name).mkdir()
    for path in KEPT:
        kept = own / "kept" / path
        if not kept.is_dir():
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Renamed when complete: an interrupted start must not leave half of a folder.
            partial = own / "partial"
            subprocess.run(["rm", "-rf", "--", str(partial)], check=True)
            subprocess.run(["cp", "-a", "--", str(rootfs / path), str(partial)], check=True)
            partial.rename(kept)
    (own / "kept/etc/cni/net.d/10-guildnet.conflist").write_text(_cni(site, machine))
    (own / "hosts").write_text(f"127.0.0.1 localhost\n{machine.address} {machine.name}\n")
    (own / "hostname").write_text(f"{machine.name}\n")
    # No name server is reachable.
    (own / "resolv.conf").write_text("")


def _cni(site: SiteNetwork, machine: Machine) -> str:
    """Point-to-point links, so all pod traffic is routed by the machine."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-leases",
        "ranges": [[{"subnet": site.pod_subnet(machine.index)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [{"type": "ptp", "ipMasq": False, "ipam": addresses}]
    return json.dumps({"cniVersion": "1.0.0", "name": "guildnet", "plugins": plugins}, indent=1)
