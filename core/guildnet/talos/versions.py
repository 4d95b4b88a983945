"""Versions of Talos and Kubernetes, and which go together. Pure."""

from __future__ import annotations

OLDEST = (1, 10)
"""The oldest Talos whose range of Kubernetes versions is known here."""
NEWEST = (1, 13)
"""The newest one. The machines judge the versions of later ones themselves."""
_FIRST_KUBERNETES = 18
"""Talos 1.N runs Kubernetes 1.(N+18) to 1.(N+23): from the Talos source, pkg/machinery/
compatibility, for 1.10 to 1.13."""
_LAST_KUBERNETES = 23


def parsed(version: str) -> tuple[int, int, int]:
    """(major, minor, patch) of `v1.13.0` or `1.13.0`. Raises ValueError."""
    major, minor, patch = version.removeprefix("v").split(".")
    return int(major), int(minor), int(patch)


def minor_of(version: str) -> tuple[int, int]:
    """(major, minor) of a version. Raises ValueError."""
    return parsed(version)[:2]


def talos_problem(version: str) -> str | None:
    """Why this Talos version cannot be used; None if it can."""
    if minor_of(version) < OLDEST:
        return f"Talos {version} is not supported: v{_dotted(OLDEST)} is the oldest that is"
    return None


def kubernetes_problem(talos: str, kubernetes: str) -> str | None:
    """Why a Talos version does not run a Kubernetes version; None if it does, or if nothing is
    known about that Talos version."""
    minor = minor_of(talos)
    if not OLDEST <= minor <= NEWEST:
        return None
    first, last = (1, minor[1] + _FIRST_KUBERNETES), (1, minor[1] + _LAST_KUBERNETES)
    if first <= minor_of(kubernetes) <= last:
        return None
    return (
        f"Talos {talos} does not run Kubernetes {kubernetes}: it supports "
        f"v{_dotted(first)} to v{_dotted(last)}"
    )


def same_minor(first: str, second: str) -> bool:
    """Whether two versions differ at most in their patch version."""
    return minor_of(first) == minor_of(second)


def _dotted(minor: tuple[int, int]) -> str:
    return ".".join(map(str, minor))
