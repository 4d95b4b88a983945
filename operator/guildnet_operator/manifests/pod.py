"""The agent's Deployment and its pod, composed of parts. Pure.

A new sidecar is one new module with a function from `Plan` to `PodPart`, and one entry in `PARTS`.
"""

from __future__ import annotations

from typing import Any

from guildnet import labels
from guildnet.digest import digest
from guildnet_operator.manifests.containers import PodPart
from guildnet_operator.manifests.mesh import mesh
from guildnet_operator.manifests.metadata import Plan, child, child_labels, selector
from guildnet_operator.manifests.supervisor import supervisor
from guildnet_operator.manifests.work import WORK, work
from guildnet_operator.views import TEMPLATE_DIGEST

GRACE_SECONDS = 120

#: In the order in which their containers start.
PARTS = (supervisor, work, mesh)


def agent_deployment(plan: Plan, *, replicas: int = 1) -> dict[str, Any]:
    """One replica, replaced only after its end: two agents never share a workspace."""
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 0,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": selector(plan.task)},
        "template": _pod_template(plan),
    }
    return child(plan, "apps/v1", "Deployment", {"spec": spec})


def template_digest(plan: Plan) -> str:
    """The digest that a pod made from this plan carries."""
    parts = _parts(plan)
    spec, annotations = _pod_spec(plan, parts), _annotations(parts)
    return digest({**spec, "annotations": annotations} if annotations else spec)


def _parts(plan: Plan) -> list[PodPart]:
    return [part(plan) for part in PARTS]


def _annotations(parts: list[PodPart]) -> dict[str, str]:
    return {name: value for part in parts for name, value in part.annotations.items()}


def _pod_template(plan: Plan) -> dict[str, Any]:
    parts = _parts(plan)
    return {
        "metadata": {
            "labels": child_labels(plan.task),
            "annotations": {
                TEMPLATE_DIGEST: template_digest(plan),
                "kubectl.kubernetes.io/default-container": WORK,
                **_annotations(parts),
            },
        },
        "spec": _pod_spec(plan, parts),
    }


def _pod_spec(plan: Plan, parts: list[PodPart]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": labels.AGENT_GROUP,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [container for part in parts for container in part.sidecars],
        "containers": [container for part in parts for container in part.containers],
        "volumes": [volume for part in parts for volume in part.volumes],
    }
    for field in ("runtimeClassName", "nodeSelector"):
        if field in plan.agent:
            spec[field] = plan.agent[field]
    return spec
