"""Settings of the machine's kernel that nodes change, and how they were before the first node."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/proc/sys")
_FORWARDING = "net/ipv4/ip_forward"
#: What the kubelet sets to its liking, besides the forwarding that we need.
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
    """Keep the present settings in `file`, unless it holds earlier ones; then allow forwarding."""
    if not file.exists():
        before = {name: (_ROOT / name).read_text() for name in _CHANGED if (_ROOT / name).exists()}
        file.write_text(json.dumps(before))
    (_ROOT / _FORWARDING).write_text("1")


def restore(file: Path) -> None:
    """Put back what `remember` kept in `file`, and remove it."""
    with suppress(FileNotFoundError, ValueError):
        for name, value in json.loads(file.read_text()).items():
            # A container may read a setting that it must not write; then nobody changed it.
            with suppress(OSError):
                (_ROOT / name).write_text(value)
    file.unlink(missing_ok=True)
