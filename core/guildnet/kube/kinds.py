"""The kinds of Kubernetes objects that GuildNet reads or writes, and their API paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from guildnet import labels
from guildnet.errors import KubeInvalid


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One kind and its API group and version; `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The path of one object, or of a collection (in all namespaces if none is given)."""
        collection = _collection(self, namespace or "")
        return f"{collection}/{_quoted(name)}" if name else collection


@lru_cache(maxsize=1024)
def _collection(kind: ResourceKind, namespace: str) -> str:
    parts = ["/apis", kind.group, kind.version] if kind.group else ["/api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", _quoted(namespace)]
    return "/".join([*parts, kind.plural])


def _quoted(name: str) -> str:
    # Skip quoting where it changes nothing: it is slow, and nearly every name is plain.
    plain = name.isascii() and name.replace("-", "").isalnum()
    return name if plain else quote(name, safe="")


AGENT_TASKS = ResourceKind(labels.GROUP, labels.VERSION, labels.PLURAL, labels.KIND_AGENT_TASK)
PODS = ResourceKind("", "v1", "pods", "Pod")
SECRETS = ResourceKind("", "v1", "secrets", "Secret")
CONFIG_MAPS = ResourceKind("", "v1", "configmaps", "ConfigMap")
PERSISTENT_VOLUME_CLAIMS = ResourceKind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICES = ResourceKind("", "v1", "services", "Service")
ENDPOINT_SLICES = ResourceKind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
SERVICE_ACCOUNTS = ResourceKind("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = ResourceKind("", "v1", "events", "Event")
NAMESPACES = ResourceKind("", "v1", "namespaces", "Namespace", namespaced=False)
LIMIT_RANGES = ResourceKind("", "v1", "limitranges", "LimitRange")
NODES = ResourceKind("", "v1", "nodes", "Node", namespaced=False)
DEPLOYMENTS = ResourceKind("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = ResourceKind("apps", "v1", "replicasets", "ReplicaSet")
NETWORK_POLICIES = ResourceKind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
LEASES = ResourceKind("coordination.k8s.io", "v1", "leases", "Lease")
STORAGE_CLASSES = ResourceKind(
    "storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False
)
ROLES = ResourceKind("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = ResourceKind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = ResourceKind(
    "rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False
)
CLUSTER_ROLE_BINDINGS = ResourceKind(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CUSTOM_RESOURCE_DEFINITIONS = ResourceKind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)

_BY_TYPE = {
    (kind.api_version, kind.kind): kind
    for kind in list(globals().values())
    if isinstance(kind, ResourceKind)
}


def kind_of(obj: Mapping[str, Any]) -> ResourceKind:
    """The kind of an object by its apiVersion and kind; KubeInvalid if it is not listed here."""
    try:
        return _BY_TYPE[obj["apiVersion"], obj["kind"]]
    except KeyError as error:
        raise KubeInvalid(
            f"unsupported kind {obj.get('kind')} of {obj.get('apiVersion')}"
        ) from error
