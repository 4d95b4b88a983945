"""The work part of the pod: the command and the editor, without credentials of forges and models.

Pure.
"""

from __future__ import annotations

from typing import Any

from guildnet import labels
from guildnet_operator.manifests.containers import (
    PodPart,
    http_probe,
    mount,
    scratch,
    secret_variable,
    security_context,
    variable,
)
from guildnet_operator.manifests.metadata import Plan
from guildnet_operator.manifests.resources import work_resources
from guildnet_operator.manifests.secret import EDITOR_PASSWORD

WORK = "work"
WORKSPACE = "workspace"


def work(plan: Plan) -> PodPart:
    """The container of the command and the editor."""
    volumes = (
        {"name": WORKSPACE, "persistentVolumeClaim": {"claimName": plan.name}},
        *scratch("exchange-out", "work-home", "work-tmp"),
    )
    return PodPart(containers=(_container(plan),), volumes=volumes)


def _container(plan: Plan) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": WORK,
        "image": plan.agent.get("image", plan.work_image),
        "command": ["python3", "-m", "guildnet_agent.shim"],
        "env": _environment(plan),
        "ports": [{"name": "editor", "containerPort": labels.EDITOR_PORT}],
        "resources": work_resources(plan.agent.get("resources", {}), plan.limit_range_resources),
        "securityContext": security_context(labels.WORK_UID),
        "volumeMounts": [
            mount(WORKSPACE, "/workspace"),
            mount("exchange-in", "/exchange/in", read_only=True),
            mount("exchange-out", "/exchange/out"),
            mount("work-home", "/home/agent"),
            mount("work-tmp", "/tmp"),  # noqa: S108  a path in the pod
        ],
    }
    if plan.editor_enabled:
        container["readinessProbe"] = http_probe(labels.EDITOR_PORT)
    return container


def _environment(plan: Plan) -> list[dict[str, Any]]:
    task = plan.task
    own = [
        variable("HOME", "/home/agent"),
        secret_variable("PASSWORD", plan.name, EDITOR_PASSWORD),
        variable("GUILDNET_ORG", task.org or plan.org.org),
        variable("GUILDNET_TASK", task.name),
        variable("GUILDNET_RUN", str(task.run)),
        variable("GUILDNET_EDITOR", "1" if plan.editor_enabled else "0"),
        variable("GUILDNET_EDITOR_SUFFIX", plan.name),
    ]
    given = [_given_variable(entry) for entry in plan.agent.get("env", ())]
    secret = [found["name"] for found in (*own, *given) if "valueFrom" in found]
    own.append(variable("GUILDNET_REDACT", ",".join(sorted(set(secret) - {"PASSWORD"}))))
    names = {found["name"] for found in own}
    return [*own, *(found for found in given if found["name"] not in names)]


def _given_variable(entry: dict[str, Any]) -> dict[str, Any]:
    """A variable as the task's `agent.env` gives it."""
    reference = entry.get("secretKeyRef")
    if reference is not None:
        return secret_variable(entry["name"], reference["name"], reference["key"])
    return variable(entry["name"], entry.get("value", ""))
