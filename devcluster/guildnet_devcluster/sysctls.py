"""Saves the kernel settings (sysctls) that nodes change, and restores them after the last node."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/proc/sys")
_FORWARDING = "net/ipv4/ip_forward"
#: The kubelet sets these, apart from forwarding, which the node's network needs.
_CHANGED = (
    _FORWARDING,
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def save(file: Path) -> None:
    """Save the current settings to `file` unless it exists, then enable forwarding."""
    if not file.exists():
        before = {name: (_ROOT / name).read_text() for name in _CHANGED if (_ROOT / name).exists()}
        file.write_text(json.dumps(before))
    (_ROOT / _FORWARDING).write_text("1")


def restore(file: Path) -> None:
    """Restore the settings that `save` wrote to `file`, and delete it."""
    with suppress(FileNotFoundError, ValueError):
        for name, value in json.loads(file.read_text()).items():
            # In a container, settings that are read-only were not changed either.
            with suppress(OSError):
                (_ROOT / name).write_text(value)
    file.unlink(missing_ok=True)
