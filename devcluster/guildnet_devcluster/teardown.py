"""Stops a cluster and removes everything it left on the machine, also after a crash.

Everything is found by what was recorded or by names that contain the cluster's own: processes by
id and mark, mounts by path, and namespaces, links, rules and cgroups by the cluster's slot or name.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError

from . import cgroups, node_network, processes
from .layout import Layout
from .node_network import NodeNetwork
from .talos import network as talos_network

#: Processes get no time to stop: none of them would lose data in a crash, pods are killed by their
#: cgroup, and the API server would wait a minute for its watchers.
_GRACE = timedelta()
#: The kubelet links each container's log here, whatever its log folder is.
_LINKED_LOGS = Path("/var/log/containers")
#: containerd cannot be configured to use another folder.
_CNI_RESULTS = Path("/var/lib/cni/results")
#: The same for every kubelet of a machine, whatever its root.
_DEVICE_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")


def tear_down(layout: Layout) -> None:
    """Stop every process, and remove every mount, namespace, link, rule and cgroup of the cluster.

    Its data folder is kept. Raises ConfigurationError if this requires root.
    """
    _check_root(layout)
    every = processes.recorded(layout)
    # The kubelet first, because it restarts containers that stop.
    processes.stop([each for each in every if each.name == "kubelet"], timedelta())
    processes.stop([*every, *processes.strays(layout)], _GRACE)
    processes.stop(processes.strays(layout), timedelta())
    processes.forget(layout)
    slot = node_network.claimed_slot(layout)
    if slot == 0:
        # It had no node. A node of this name in another state directory must not be stopped.
        return
    cgroups.remove(layout.cgroup)
    _unlink_shim_sockets(layout)
    _unmount(layout)
    talos_network.remove(layout, slot)
    node_network.remove(layout, NodeNetwork(slot))
    _unlink_logs(layout)
    _unlink_cni_results(layout)
    _unlink_device_socket()
    shutil.rmtree(layout.runtime, ignore_errors=True)
    # Last: while the slot is claimed, an interrupted teardown can be repeated.
    node_network.release_slot(slot)


def mounts_of(layout: Layout) -> list[Path]:
    """The mounts in the cluster's folders, deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = {Path(_unescaped(line.split()[4])) for line in lines}
    ours = [
        point
        for point in points
        if point.is_relative_to(layout.data) or point.is_relative_to(layout.runtime)
    ]
    return sorted(ours, key=lambda point: len(point.parts), reverse=True)


def _check_root(layout: Layout) -> None:
    if node_network.claimed_slot(layout) and os.geteuid() != 0:
        raise ConfigurationError(
            "its node was started by root",
            place=f"devcluster {layout.name}",
            cure="Run the command as root.",
        )


def _unmount(layout: Layout) -> None:
    # A mount may cover another one, or be duplicated by propagation.
    for _ in range(5):
        mounts = mounts_of(layout)
        if not mounts:
            return
        for mount in mounts:
            subprocess.run(["umount", "--lazy", str(mount)], capture_output=True, check=False)


def _unlink_shim_sockets(layout: Layout) -> None:
    """Delete the sockets that killed shims left in a folder that all containerds share."""
    tasks = layout.runtime / "containerd" / "io.containerd.runtime.v2.task" / "k8s.io"
    for file in tasks.glob("*/bootstrap.json"):
        try:
            address = str(json.loads(file.read_text())["address"])
        except (OSError, ValueError, KeyError):
            continue
        Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def _unlink_logs(layout: Layout) -> None:
    if not _LINKED_LOGS.is_dir():
        return
    for link in _LINKED_LOGS.iterdir():
        if link.is_symlink() and Path(os.readlink(link)).is_relative_to(layout.node):
            link.unlink(missing_ok=True)


def _unlink_cni_results(layout: Layout) -> None:
    """Delete the CNI results of a killed containerd; each one names the pod's network namespace."""
    for file in _CNI_RESULTS.glob("*"):
        with suppress(OSError):
            if str(layout.runtime).encode() in file.read_bytes():
                file.unlink()


def _unlink_device_socket() -> None:
    """Delete the kubelet's device plugin socket if no kubelet listens on it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(_DEVICE_SOCKET))
            return
        except ConnectionRefusedError:
            _DEVICE_SOCKET.unlink(missing_ok=True)
        except OSError:
            return
    # Fails, as intended, if the folders contain anything else.
    with suppress(OSError):
        _DEVICE_SOCKET.parent.rmdir()
        _DEVICE_SOCKET.parent.parent.rmdir()


def _unescaped(path: str) -> str:
    """Decode a mount point: the kernel writes white space and backslashes as octal."""
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(octal, plain)
    return path
