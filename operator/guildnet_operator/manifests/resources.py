"""Requests and limits of an agent's containers: given values, then defaults. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guildnet.units import quantity_value

#: The supervisor's; its emptyDirs hold clones and artifacts.
SUPERVISOR_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "requests": {"cpu": "20m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
    "limits": {"memory": "1Gi", "ephemeral-storage": "5Gi"},
}
#: A userspace tailscaled needs 40 to 60 MiB; its state and socket are in memory as well.
MESH_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "requests": {"cpu": "10m", "memory": "48Mi", "ephemeral-storage": "1Mi"},
    "limits": {"memory": "256Mi", "ephemeral-storage": "64Mi"},
}
#: The command's. CPU has no limit: a busy node shares it in proportion to the requests.
WORK_REQUESTS: Mapping[str, str] = {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "128Mi"}
WORK_LIMITS: Mapping[str, str] = {"memory": "4Gi", "ephemeral-storage": "10Gi"}


def supervisor_resources(
    limit_range_resources: frozenset[str] = frozenset(),
) -> dict[str, dict[str, str]]:
    """Requests and limits of the supervisor's container."""
    return _without(SUPERVISOR_RESOURCES, limit_range_resources)


def mesh_resources(
    limit_range_resources: frozenset[str] = frozenset(),
) -> dict[str, dict[str, str]]:
    """Requests and limits of the mesh container."""
    return _without(MESH_RESOURCES, limit_range_resources)


def _without(
    resources: Mapping[str, Mapping[str, str]], names: frozenset[str]
) -> dict[str, dict[str, str]]:
    return {
        side: {key: value for key, value in given.items() if key not in names}
        for side, given in resources.items()
    }


def work_resources(
    given: Mapping[str, Any], limit_range_resources: frozenset[str] = frozenset()
) -> dict[str, dict[str, str]]:
    """Requests and limits of the command's container.

    `given` takes precedence. A resource that it does not name gets the default request. One without
    a limit gets the default limit, or its request if that is larger. A limit without a request is
    the request as well, as in Kubernetes. `limit_range_resources` get no defaults: the namespace's
    LimitRanges set theirs.
    """
    requests, limits = dict(given.get("requests") or {}), dict(given.get("limits") or {})
    named = requests.keys() | limits.keys() | limit_range_resources
    default_requests = {key: value for key, value in WORK_REQUESTS.items() if key not in named}
    default_limits = {
        key: max(value, requests.get(key, value), key=_amount)
        for key, value in WORK_LIMITS.items()
        if key not in limits and key not in limit_range_resources
    }
    return {"requests": default_requests | requests, "limits": default_limits | limits}


def _amount(quantity: str) -> float:
    """A quantity's value; 0 for an invalid one, which the API server then refuses."""
    try:
        return quantity_value(quantity)
    except ValueError:
        return 0.0
