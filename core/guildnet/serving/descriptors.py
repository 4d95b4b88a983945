"""The process's limit of open files."""

from __future__ import annotations

import contextlib
import resource

_WANTED = 65536


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files towards the hard one; return what holds then.

    The usual soft limit of 1024 exists for select(), which nothing here uses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _WANTED
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft
