"""The objects that `guildnet org install` applies besides the CRD: the operator and its RBAC. Pure.

The chart deploy/charts/guildnet-operator renders the same objects from the same rules; a test
compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guildnet import labels
from guildnet_operator.health import LIVE_PATH, READY_PATH
from guildnet_operator.lookups.dns_servers import NAMESPACE, SERVICE

PROBES_PORT = 8080
# Where API servers usually listen behind the Service `kubernetes`, whose own port is 443.
API_SERVER_PORTS = (443, 6443)
MONITORING_NAMESPACE = "monitoring"
_USER = 10001
_NAME = labels.OPERATOR
_INSTANCE = "app.kubernetes.io/instance"

# Rights in the agents' namespace, and what each is for.
RULES: list[dict[str, Any]] = [
    # watches: AgentTasks, and the objects that it creates for them
    {"apiGroups": [labels.GROUP], "resources": [labels.PLURAL], "verbs": ["list", "watch"]},
    {"apiGroups": [labels.GROUP], "resources": [f"{labels.PLURAL}/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    # get: the key of the agent API
    {
        "apiGroups": [""],
        "resources": ["secrets"],
        "verbs": ["get", "list", "watch", "create", "patch"],
    },
    {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "verbs": ["list", "watch", "create", "patch"],
    },
    {
        "apiGroups": [""],
        "resources": ["persistentvolumeclaims"],
        "verbs": ["list", "watch", "create"],
    },
    {
        "apiGroups": [""],
        "resources": ["services"],
        "verbs": ["list", "watch", "create", "patch"],
    },
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["list", "watch", "create", "patch"],
    },
    {
        "apiGroups": ["networking.k8s.io"],
        "resources": ["networkpolicies"],
        "verbs": ["list", "watch", "create", "patch"],
    },
    # a LimitRange's defaults replace the operator's own
    {"apiGroups": [""], "resources": ["limitranges"], "verbs": ["list"]},
    # the agent API through the pod proxy: GET is get, POST is create
    {"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get", "create"]},
    # list: why a pod is slow to start
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        # list, watch: the renewals of its own Lease show that watches work
        "verbs": ["get", "list", "watch", "create", "update"],
    },
]

# Rights in kube-system: which pods and addresses serve DNS. EndpointSlices have generated names, so
# resourceNames cannot restrict them.
DNS_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["services"], "resourceNames": [SERVICE], "verbs": ["get"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
]


def operator_name(namespace: str) -> str:
    """The operator's name in `guildnet-system`, which the orgs of a cluster share."""
    return f"{_NAME}-{namespace}"


def manifests(
    *,
    namespace: str,
    image: str,
    agent_image: str,
    work_image: str,
    mesh_image: str,
    org: str,
    api_server_ports: Sequence[int] = API_SERVER_PORTS,
) -> list[dict[str, Any]]:
    """The objects, in the order in which to apply them.

    `namespace`: the namespace of the org's AgentTasks, with the restricted Pod Security Standard.
    `image`: the operator's. `agent_image`: each agent's supervisor's, normally the same.
    `work_image`: the work container's if neither the task nor its org sets one. `mesh_image`: the
    mesh container's, for an org with a mesh.
    `api_server_ports`: the only ports besides those of DNS that the operator may connect to.
    """
    own_labels = {
        labels.APP_NAME: _NAME,
        _INSTANCE: namespace,
        labels.MANAGED_BY: "guildnet",
        labels.ORG: org,
    }
    system, name = labels.OPERATOR_NAMESPACE, operator_name(namespace)
    images = {
        "GUILDNET_OPERATOR_IMAGE": agent_image,
        "GUILDNET_WORK_IMAGE": work_image,
        "GUILDNET_MESH_IMAGE": mesh_image,
    }
    return [
        _namespace(system),
        _namespace(namespace, org),
        _object("v1", "ServiceAccount", name, system, own_labels),
        *_rights(_NAME, namespace, RULES, name, own_labels),
        *_rights(name, NAMESPACE, DNS_RULES, name, own_labels),
        {
            **_object("networking.k8s.io/v1", "NetworkPolicy", name, system, own_labels),
            "spec": _network_policy_spec(_selector(namespace), api_server_ports),
        },
        {
            **_object("apps/v1", "Deployment", name, system, own_labels),
            "spec": _deployment_spec(namespace, image, images, own_labels),
        },
    ]


def _rights(
    role: str,
    namespace: str,
    rules: list[dict[str, Any]],
    account: str,
    own_labels: dict[str, str],
) -> list[dict[str, Any]]:
    """A Role in `namespace` and its binding to the operator's ServiceAccount."""
    group = "rbac.authorization.k8s.io"
    subject = {
        "kind": "ServiceAccount",
        "name": account,
        "namespace": labels.OPERATOR_NAMESPACE,
    }
    return [
        {**_object(f"{group}/v1", "Role", role, namespace, own_labels), "rules": rules},
        {
            **_object(f"{group}/v1", "RoleBinding", role, namespace, own_labels),
            "roleRef": {"apiGroup": group, "kind": "Role", "name": role},
            "subjects": [subject],
        },
    ]


def _namespace(name: str, org: str | None = None) -> dict[str, Any]:
    """`org`: the owner; None for a namespace that orgs share."""
    security = {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**({labels.ORG: org} if org else {}), **security}},
    }


def _object(
    api_version: str, kind: str, name: str, namespace: str, own_labels: dict[str, str]
) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": own_labels},
    }


def _selector(namespace: str) -> dict[str, str]:
    return {labels.APP_NAME: _NAME, _INSTANCE: namespace}


def _network_policy_spec(
    selector: dict[str, str], api_server_ports: Sequence[int]
) -> dict[str, Any]:
    """Only scrapes come in; DNS and the API server are all that it may connect to. The kubelet's
    probes pass every NetworkPolicy."""

    def ports(*numbers: int, protocol: str = "TCP") -> list[dict[str, Any]]:
        return [{"port": number, "protocol": protocol} for number in numbers]

    monitoring = {"matchLabels": {"kubernetes.io/metadata.name": MONITORING_NAMESPACE}}
    return {
        "podSelector": {"matchLabels": selector},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"namespaceSelector": monitoring}], "ports": ports(PROBES_PORT)}],
        "egress": [
            {"ports": [*ports(53, protocol="UDP"), *ports(53)]},
            {"ports": ports(*api_server_ports)},
        ],
    }


def _deployment_spec(
    namespace: str, image: str, images: Mapping[str, str], own_labels: dict[str, str]
) -> dict[str, Any]:
    environment = {
        **images,
        "GUILDNET_PROBES": f"0.0.0.0:{PROBES_PORT}",
        "HOME": "/tmp",  # noqa: S108  a path in the pod
    }
    container = {
        "name": "operator",
        "image": image,
        "command": ["guildnet", "operator", "--namespace", namespace],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"name": "probes", "containerPort": PROBES_PORT}],
        "livenessProbe": _probe(LIVE_PATH, period=10, failures=6),
        "readinessProbe": _probe(READY_PATH, period=2, failures=3),
        "resources": {
            "requests": {"cpu": "50m", "memory": "128Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    return {
        "replicas": 1,
        # A new pod is ready only after the old one has released the Lease.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": _selector(namespace)},
        "template": {
            "metadata": {"labels": own_labels},
            "spec": {
                "serviceAccountName": operator_name(namespace),
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": _USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        },
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PROBES_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
