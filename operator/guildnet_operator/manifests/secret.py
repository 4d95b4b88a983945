"""The agent's own Secret: the key of the agent API, the editor's password, and the task."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from guildnet.digest import canonical_json, digest
from guildnet_operator.manifests.metadata import Plan, child
from guildnet_operator.views import DIGEST

API_KEY = "api-key"
EDITOR_PASSWORD = "editor-password"  # noqa: S105  the name of a key
TASK_DOCUMENT = "task.json"


def task_document(plan: Plan) -> bytes:
    """`task.json`, as the supervisor reads it: canonical JSON."""
    task = plan.task
    return canonical_json(
        {
            "org": task.org or plan.org.org,
            "task": task.name,
            "namespace": task.namespace,
            "uid": task.uid,
            "stateRepository": plan.org.state_repository,
            "spec": task.spec,
            "gitSecrets": {
                name: {"hosts": list(hosts)} for name, hosts in sorted(plan.git_hosts.items())
            },
            **({"model": plan.model} if plan.model else {}),
        }
    )


def document_digest(plan: Plan) -> str:
    """The digest of the task that a Secret carries."""
    return digest(task_document(plan).decode())


def agent_secret(plan: Plan) -> dict[str, Any]:
    """The Secret to create; each call generates a new key and password."""
    secret = child(plan, "v1", "Secret", {})
    secret["metadata"]["annotations"][DIGEST] = document_digest(plan)
    secret["type"] = "Opaque"
    secret["data"] = {
        API_KEY: _encoded(secrets.token_hex(32).encode()),
        EDITOR_PASSWORD: _encoded(secrets.token_urlsafe(18).encode()),
        TASK_DOCUMENT: _encoded(task_document(plan)),
    }
    return secret


def document_patch(plan: Plan) -> dict[str, Any]:
    """A merge patch that replaces the task and keeps key and password."""
    return {
        "metadata": {"annotations": {DIGEST: document_digest(plan)}},
        "data": {TASK_DOCUMENT: _encoded(task_document(plan))},
    }


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
