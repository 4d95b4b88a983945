"""What all objects of an AgentTask have in common: name, labels, owner, digest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guildnet import labels
from guildnet.digest import digest
from guildnet.mesh import MeshSettings
from guildnet_operator.lookups.dns_servers import WELL_KNOWN, DnsServers
from guildnet_operator.references import used_model
from guildnet_operator.views import DIGEST, Json, OrgSettings, TaskView


@dataclass(frozen=True)
class Plan:
    """Everything that an AgentTask's objects are built from.

    `git_hosts`: the allowed hosts of each git Secret that the task names. `egress`: the org's
    egress as resolved (address, port) pairs; `egress_complete` is False if a name could not be
    resolved. `dns`: the only DNS servers that the agent may query. `limit_range_resources`: the
    resources for which the namespace's LimitRanges set containers' defaults. `mesh_refusal`: why
    the agents of an org with a mesh get no peer.
    """

    task: TaskView
    org: OrgSettings
    operator_image: str
    work_image: str
    mesh_image: str
    git_hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    egress: tuple[tuple[str, int], ...] = ()
    egress_complete: bool = True
    dns: DnsServers = WELL_KNOWN
    limit_range_resources: frozenset[str] = frozenset()
    mesh_refusal: str = ""

    @property
    def name(self) -> str:
        return self.task.child_name

    @property
    def agent(self) -> Json:
        agent: Json = self.task.spec.get("agent", {})
        return agent

    @property
    def model(self) -> Json | None:
        """The org's model that the task uses, None if it uses none."""
        return used_model(self.task.spec, self.org.models)

    @property
    def editor_enabled(self) -> bool:
        return bool(self.task.spec.get("editor", {}).get("enabled", True))

    @property
    def mesh(self) -> MeshSettings | None:
        """The mesh that the agent joins; None without one, if its Secret may not be used, and for
        a task without the editor that it would serve."""
        return self.org.mesh if self.editor_enabled and not self.mesh_refusal else None


def selector(task: TaskView) -> dict[str, str]:
    """The labels that select this AgentTask's pod alone."""
    return {labels.TASK: task.name, labels.APP_NAME: labels.AGENT}


def child_labels(task: TaskView) -> dict[str, str]:
    return {
        **selector(task),
        labels.MANAGED_BY: labels.OPERATOR,
        **({labels.ORG: task.org} if task.org else {}),
    }


def child(plan: Plan, api_version: str, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object around `body`, owned by the AgentTask, with its digest.

    No `blockOwnerDeletion`: it needs a right on finalizers, which the operator does not have.
    """
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": plan.name,
            "namespace": plan.task.namespace,
            "labels": child_labels(plan.task),
            "annotations": {DIGEST: digest(body)},
            "ownerReferences": [owner_reference(plan.task)],
        },
        **body,
    }


def owner_reference(task: TaskView) -> dict[str, Any]:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "name": task.name,
        "uid": task.uid,
        "controller": True,
    }
