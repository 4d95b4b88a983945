"""Builders of the objects that the operator creates for one AgentTask. Pure.

Each builds one object from a `Plan`. The annotation `guildnet.io/manifest-digest` shows whether the
object in the cluster differs from its plan, so that an unchanged plan writes nothing (I4).
"""

from guildnet_operator.manifests.metadata import Plan
from guildnet_operator.manifests.network_policy import agent_network_policy
from guildnet_operator.manifests.pod import agent_deployment, template_digest
from guildnet_operator.manifests.secret import agent_secret, task_document
from guildnet_operator.manifests.service import editor_service
from guildnet_operator.manifests.workspace import workspace_claim

__all__ = [
    "Plan",
    "agent_deployment",
    "agent_network_policy",
    "agent_secret",
    "editor_service",
    "task_document",
    "template_digest",
    "workspace_claim",
]
