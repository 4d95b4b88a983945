"""The parts that an agent's pod is composed of, and the fields all its containers share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guildnet import labels

_SCRATCH = {"sizeLimit": "2Gi"}


@dataclass(frozen=True, slots=True)
class PodPart:
    """What one component adds to the pod: containers, sidecars, volumes and annotations.

    A sidecar is an init container with `restartPolicy: Always`: it starts before the containers
    and ends after them. A volume that several parts mount belongs to the part that writes to it.
    """

    containers: tuple[dict[str, Any], ...] = ()
    sidecars: tuple[dict[str, Any], ...] = ()
    volumes: tuple[dict[str, Any], ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def scratch(*names: str) -> Iterable[dict[str, Any]]:
    """Empty volumes, bounded so that no agent fills its node's disk."""
    return ({"name": name, "emptyDir": _SCRATCH} for name in names)


def variable(name: str, value: str) -> dict[str, Any]:
    # Kubernetes expands $(NAME) and turns $$ into $: each dollar doubled keeps what people wrote.
    return {"name": name, "value": value.replace("$", "$$")}


def secret_variable(name: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def http_probe(port: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/healthz", "port": port},
        "periodSeconds": 1,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    }


def security_context(user: int) -> dict[str, Any]:
    return {
        "runAsUser": user,
        # Set on each container: containerd takes no group for the pod's sandbox, which runs as
        # another user.
        "runAsGroup": labels.AGENT_GROUP,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
