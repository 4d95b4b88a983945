"""The only package that talks to Kubernetes: a client, list and watch, and a Lease.

Objects are plain JSON dicts, as the API server returns them. Errors are the Kube* classes of
`guildnet.errors`.
"""

from __future__ import annotations

from guildnet.kube.client import KubeClient
from guildnet.kube.fence import Fence
from guildnet.kube.kinds import (
    AGENT_TASKS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    LEASES,
    LIMIT_RANGES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STORAGE_CLASSES,
    ResourceKind,
    kind_of,
)
from guildnet.kube.lease import Lease, LeaseTiming
from guildnet.kube.watch import WatchEvent, list_and_watch

__all__ = [
    "AGENT_TASKS",
    "CLUSTER_ROLES",
    "CLUSTER_ROLE_BINDINGS",
    "CONFIG_MAPS",
    "CUSTOM_RESOURCE_DEFINITIONS",
    "DEPLOYMENTS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "LEASES",
    "LIMIT_RANGES",
    "NAMESPACES",
    "NETWORK_POLICIES",
    "NODES",
    "PERSISTENT_VOLUME_CLAIMS",
    "PODS",
    "REPLICA_SETS",
    "ROLES",
    "ROLE_BINDINGS",
    "SECRETS",
    "SERVICES",
    "SERVICE_ACCOUNTS",
    "STORAGE_CLASSES",
    "Fence",
    "KubeClient",
    "Lease",
    "LeaseTiming",
    "ResourceKind",
    "WatchEvent",
    "kind_of",
    "list_and_watch",
]
