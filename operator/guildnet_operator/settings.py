"""The operator's settings, and the reasons for their defaults."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

DEFAULT_IMAGE = "localhost/guildnet-operator:latest"
DEFAULT_WORK_IMAGE = "localhost/guildnet-work:latest"
DEFAULT_MESH_IMAGE = "localhost/guildnet-mesh:latest"


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, in `main`."""

    kubeconfig: Path | None = None
    """The kubeconfig file; None: the pod's own service account."""

    context: str | None = None
    """The context of the kubeconfig; None: its current one."""

    namespace: str | None = None
    """The namespace of the AgentTasks; None: the context's, or the pod's own."""

    operator_image: str = DEFAULT_IMAGE
    """Image of each agent's supervisor, `GUILDNET_OPERATOR_IMAGE`: the operator's own, so that
    both speak the same version of the agent API."""

    work_image: str = DEFAULT_WORK_IMAGE
    """Image of the work container if neither the task nor its org sets one,
    `GUILDNET_WORK_IMAGE`."""

    mesh_image: str = DEFAULT_MESH_IMAGE
    """Image of the mesh container if the org's `mesh.image` sets none, `GUILDNET_MESH_IMAGE`."""

    holder: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    """The holder in the Lease: unique to the process, readable in `kubectl get lease`."""

    workers: int = 16
    """AgentTasks reconciled at once: enough to use the API server well, few enough to leave room
    for its other clients."""

    probes: str | None = None
    """Where `/healthz`, `/readyz` and `/metrics` are served, `GUILDNET_PROBES`, such as
    `0.0.0.0:8080`; None: nowhere, because a shell needs none."""

    agent_unreachable_after: timedelta = timedelta(seconds=30)
    """How long an agent may not answer before status says so: a shorter time would flap while a
    node is busy."""

    provision_timeout: timedelta = timedelta(minutes=10)
    """How long an agent may take to become ready before its slot goes to a waiting task: longer
    than a cluster needs to add a node and pull a large image."""

    egress_refresh: timedelta = timedelta(minutes=5)
    """How often egress names and the cluster's DNS servers are looked up again while an agent's pod
    runs."""


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings given by environment variables, by field name."""
    names = {
        "operator_image": "GUILDNET_OPERATOR_IMAGE",
        "work_image": "GUILDNET_WORK_IMAGE",
        "mesh_image": "GUILDNET_MESH_IMAGE",
        "probes": "GUILDNET_PROBES",
    }
    return {name: environ[variable] for name, variable in names.items() if environ.get(variable)}
