"""The operator's settings and the reasons of their defaults."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

DEFAULT_IMAGE = "localhost/guildnet-operator:latest"
DEFAULT_WORK_IMAGE = "localhost/guildnet-work:latest"


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
    """Image of each agent's supervisor, `GUILDNET_OPERATOR_IMAGE`: always the operator's own, so
    that both speak the same agent API."""

    work_image: str = DEFAULT_WORK_IMAGE
    """Image of the work side where a task and its org name none, `GUILDNET_WORK_IMAGE`."""

    holder: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    """Who holds the Lease: unique to the process, readable in `kubectl get lease`."""

    workers: int = 16
    """AgentTasks worked on at once: enough to keep the API server busy, few enough that one
    operator leaves it room for others."""

    probes: str | None = None
    """Where `/healthz` and `/readyz` are served, `GUILDNET_PROBES`, as `0.0.0.0:8080`; None:
    nowhere, as a shell needs none."""

    agent_unreachable_after: timedelta = timedelta(seconds=30)
    """How long an agent may be silent before status says so: shorter would flap when a node is
    busy."""

    provision_timeout: timedelta = timedelta(minutes=10)
    """How long an agent may take to come up before its place goes to who waits: longer than a
    cluster needs to add a node and pull a large image."""

    egress_refresh: timedelta = timedelta(minutes=5)
    """How often the names of an org's openings, and the cluster's DNS servers, are looked up again
    while an agent's pod is up."""


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings given by environment variables, by field name."""
    names = {
        "operator_image": "GUILDNET_OPERATOR_IMAGE",
        "work_image": "GUILDNET_WORK_IMAGE",
        "probes": "GUILDNET_PROBES",
    }
    return {name: environ[variable] for name, variable in names.items() if environ.get(variable)}
