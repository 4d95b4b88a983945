"""Ending a cluster so that nothing of it is left on the machine, also after a crash.

Everything found is found by what we recorded or by names that carry the cluster's own: a process
by its id and mark, a mount by its path, a namespace, link, rule or cgroup by the cluster's slot
or name.
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

#: None has anything to say at its end that a crash would lose; pods are killed by their cgroup. The
#: API server would wait a minute for its watchers.
_GRACE = timedelta()
#: The kubelet links each container's log here, whatever folder it is told to log to.
_LINKED_LOGS = Path("/var/log/containers")
#: containerd cannot be told another folder for these.
_CNI_RESULTS = Path("/var/lib/cni/results")
#: The same for every kubelet of a machine, whatever its root.
_DEVICE_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")


def tear_down(layout: Layout) -> None:
    """End every process, and remove every mount, namespace, link, rule and cgroup of the cluster.

    What lies in its data folder stays. Raises ConfigurationError when that takes root.
    """
    _check_root(layout)
    every = processes.recorded(layout)
    # The kubelet first, or it would start again what ends.
    processes.stop([each for each in every if each.name == "kubelet"], timedelta())
    processes.stop([*every, *processes.strays(layout)], _GRACE)
    processes.stop(processes.strays(layout), timedelta())
    processes.forget(layout)
    slot = node_network.claimed_slot(layout)
    if slot == 0:
        # It had no node. One of the same name, of another state directory, is not ours to end.
        return
    cgroups.remove(layout.cgroup)
    _unlink_shim_sockets(layout)
    _unmount(layout)
    node_network.remove(layout, NodeNetwork(slot))
    _unlink_logs(layout)
    _unlink_cni_results(layout)
    _unlink_device_socket()
    shutil.rmtree(layout.runtime, ignore_errors=True)
    # Last: as long as it is claimed, whoever is cut short here finds the rest next time.
    node_network.release_slot(slot)


def mounts_of(layout: Layout) -> list[Path]:
    """What is mounted under the cluster's folders, deepest first."""
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
            "its node was started by root", place=f"devcluster {layout.name}", cure="be root"
        )


def _unmount(layout: Layout) -> None:
    # One mount may lie over another, and propagation may have doubled it.
    for _ in range(5):
        mounts = mounts_of(layout)
        if not mounts:
            return
        for mount in mounts:
            subprocess.run(["umount", "--lazy", str(mount)], capture_output=True, check=False)


def _unlink_shim_sockets(layout: Layout) -> None:
    """A killed shim leaves its socket in a folder that all containerds share."""
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
    """A killed containerd leaves what plugins answered; each tells the pod's network namespace."""
    for file in _CNI_RESULTS.glob("*"):
        with suppress(OSError):
            if str(layout.runtime).encode() in file.read_bytes():
                file.unlink()


def _unlink_device_socket() -> None:
    """Remove the kubelet's socket for device plugins when no kubelet listens on it any more."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(_DEVICE_SOCKET))
            return
        except ConnectionRefusedError:
            _DEVICE_SOCKET.unlink(missing_ok=True)
        except OSError:
            return
    # Only where nothing else is kept there.
    with suppress(OSError):
        _DEVICE_SOCKET.parent.rmdir()
        _DEVICE_SOCKET.parent.parent.rmdir()


def _unescaped(path: str) -> str:
    """The kernel writes blanks and backslashes in mount points as octal."""
    for octal, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(octal, plain)
    return path
