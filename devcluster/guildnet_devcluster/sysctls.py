"""Saves the kernel settings (sysctls) that nodes change, and restores them after the last node."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/proc/sys")
_FORWARDING = "net/ipv4/ip_forward"
_INOTIFY_INSTANCES = "fs/inotify/max_user_instances"
#: A node has about 25, and all nodes of a machine belong to one user; many kernels allow only 128.
#: Talos sets the same number on its machines.
_ENOUGH_INSTANCES = 8192
#: The kubelet sets these, apart from the first two.
_CHANGED = (
    _FORWARDING,
    _INOTIFY_INSTANCES,
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def save(file: Path) -> None:
    """Save the current settings to `file` unless it has them, then set what nodes require."""
    before: dict[str, str] = {}
    with suppress(FileNotFoundError, ValueError):
        before = json.loads(file.read_text())
    for name in _CHANGED:
        if name not in before and (_ROOT / name).exists():
            before[name] = (_ROOT / name).read_text()
    file.write_text(json.dumps(before))
    (_ROOT / _FORWARDING).write_text("1")
    instances = _ROOT / _INOTIFY_INSTANCES
    # In a container it may be read-only.
    with suppress(OSError):
        if int(instances.read_text()) < _ENOUGH_INSTANCES:
            instances.write_text(str(_ENOUGH_INSTANCES))


def restore(file: Path) -> None:
    """Restore the settings that `save` wrote to `file`, and delete it."""
    with suppress(FileNotFoundError, ValueError):
        for name, value in json.loads(file.read_text()).items():
            # In a container, settings that are read-only were not changed either.
            with suppress(OSError):
                (_ROOT / name).write_text(value)
    file.unlink(missing_ok=True)
