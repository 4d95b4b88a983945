"""Becomes a Talos machine: a program that enters new namespaces, mounts its root and runs init.

It starts outside, in the machine's cgroup, and starts itself again inside. Talos' init must never
run in the host's namespaces: if it fails, it ends every process and unmounts everything it sees.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from guildnet_devcluster import cgroups

from .machine import KEPT, VOLUMES

_CGROUPS = Path("/sys/fs/cgroup")
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAP_SYS_RESOURCE = 24
#: Mount options that do not name a hierarchy.
_GENERAL_OPTIONS = {"rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "xattr"}
#: Name -> major and minor number of a device that every machine has.
_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "kmsg": (1, 11),
    "tty": (5, 0),
    "fuse": (10, 229),
}
#: Settings of the whole host that Talos sets. Each machine gets a copy to write to.
_HOST_SYSCTLS = (
    *("fs/aio-max-nr", "fs/inotify/max_user_instances", "fs/inotify/max_user_watches"),
    *("kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic"),
    *("kernel/panic_on_oops", "kernel/pid_max", "vm/overcommit_memory", "vm/panic_on_oom"),
)
#: The map of user ids in a user namespace that is almost the initial one.
_USER_NAMESPACE = "         0          0 4294967294\n"

_libc = ctypes.CDLL(None, use_errno=True)


def outside(file: Path, settings: Mapping[str, str]) -> None:
    """Join the machine's cgroup, and go on in its namespaces."""
    cgroups.join(settings["cgroup"])
    os.execvp(  # noqa: S606
        "nsenter",
        [
            *("nsenter", f"--net={settings['netns']}"),
            *("unshare", "--mount", "--uts", "--ipc", "--cgroup", "--pid", "--fork"),
            # Then the whole machine dies with the process that is recorded.
            "--kill-child=SIGKILL",
            *(sys.executable, "-m", "guildnet_devcluster.talos.machine_init", "inside", str(file)),
        ],
    )


def inside(settings: Mapping[str, str]) -> None:
    """Mount the root, and become init."""
    own, root = Path(settings["folder"]), Path(settings["folder"]) / "root"
    hierarchies = hierarchies_in(Path("/proc/mounts").read_text())
    _mount("none", Path("/"), None, _MS_REC | _MS_PRIVATE)
    layers = f"lowerdir={settings['rootfs']},upperdir={own}/upper,workdir={own}/work"
    _mount("overlay", root, "overlay", 0, layers)
    _mount("proc", root / "proc", "proc")
    _mount("sysfs", root / "sys", "sysfs")
    _mount_cgroups(root / "sys/fs/cgroup", hierarchies)
    _create_devices(root / "dev")
    for name, mode in (("run", "755"), ("system", "755"), ("tmp", "1777")):
        _mount("tmpfs", root / name, "tmpfs", 0, f"mode={mode}")
    (root / "system/state").mkdir(mode=0o700)
    _bind(own / "state", root / "system/state")
    _bind(own / "var", root / "var")
    for path in KEPT:
        _bind(own / "kept" / path, root / path)
    for name in ("hostname", "hosts", "resolv.conf"):
        _bind(own / name, root / "etc" / name)
    volumes = root / VOLUMES.removeprefix("/")
    volumes.mkdir(parents=True, exist_ok=True)
    _bind(Path(settings["volumes"]), volumes)
    _copy_sysctls(root)
    if not _has_capability(_CAP_SYS_RESOURCE):
        _tolerate_fixed_oom_scores(root)
    socket.sethostname(settings["name"])
    _pivot(root)
    environment = {"PLATFORM": "container", "PATH": "/usr/bin", "HOME": "/"}
    os.execve("/usr/bin/init", ["/sbin/init"], environment)  # noqa: S606


def hierarchies_in(mounts: str) -> list[tuple[str, str, str]]:
    """Each cgroup hierarchy in a text like /proc/mounts: folder, type and mount options.

    The folder is relative to /sys/fs/cgroup, and `.` for the only hierarchy of cgroup v2. The empty
    v2 hierarchy beside those of v1 is left out: Talos would take the machine for a v2 one.
    """
    found = []
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup":
            found.append((Path(point).name, kind, _controllers(options)))
        elif (kind, point) == ("cgroup2", str(_CGROUPS)):
            found.append((".", kind, ""))
    return found


def _controllers(options: str) -> str:
    return ",".join(each for each in options.split(",") if each not in _GENERAL_OPTIONS)


def _mount_cgroups(target: Path, hierarchies: list[tuple[str, str, str]]) -> None:
    if hierarchies == [(".", "cgroup2", "")]:
        _mount("cgroup2", target, "cgroup2")
        return
    _mount("tmpfs", target, "tmpfs", 0, "mode=755")
    for folder, kind, options in hierarchies:
        # One without controllers is found by its name.
        data = f"none,{options}" if options.startswith("name=") else options
        (target / folder).mkdir()
        _mount(kind, target / folder, kind, 0, data)


def _create_devices(dev: Path) -> None:
    """Only these: the host's disks must not be in reach."""
    _mount("tmpfs", dev, "tmpfs", 0, "mode=755,size=64m")
    mask = os.umask(0)
    for name, (major, minor) in _DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
    os.umask(mask)
    for name, kind, data in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("shm", "tmpfs", "mode=1777,size=64m"),
        ("mqueue", "mqueue", None),
    ):
        (dev / name).mkdir()
        _mount(kind, dev / name, kind, 0, data)
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")


def _copy_sysctls(root: Path) -> None:
    copies = root / "run/.sysctls"
    copies.mkdir()
    for name in _HOST_SYSCTLS:
        original = root / "proc/sys" / name
        if original.exists():
            copy = copies / name.replace("/", ".")
            copy.write_text(original.read_text())
            _bind(copy, original)


def _tolerate_fixed_oom_scores(root: Path) -> None:
    """Make init ignore that it cannot lower the OOM score of its services.

    Without CAP_SYS_RESOURCE that is refused, and every service of Talos would fail. The library it
    uses tolerates it in a user namespace, which it recognises by the map of its own process.
    """
    copy = root / "run/.uid_map"
    copy.write_text(_USER_NAMESPACE)
    _bind(copy, root / "proc/1/uid_map")


def _has_capability(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _bind(source: Path, target: Path) -> None:
    _mount(str(source), target, None, _MS_BIND)


def _mount(
    source: str, target: Path, kind: str | None, flags: int = 0, data: str | None = None
) -> None:
    done = _libc.mount(
        source.encode(),
        str(target).encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )
    _check(done, f"mounting {source} at {target} ({kind}, {data})")


def _pivot(root: Path) -> None:
    os.chdir(root)
    call = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(call, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "detaching the host's root")
    os.chdir("/")


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def main() -> None:
    """Run `python -m guildnet_devcluster.talos.machine_init outside|inside FILE`."""
    _, place, name = sys.argv
    settings = json.loads(Path(name).read_text())
    if place == "outside":
        outside(Path(name), settings)
    else:
        inside(settings)


if __name__ == "__main__":
    main()
