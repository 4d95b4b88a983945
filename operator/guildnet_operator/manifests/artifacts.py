"""The ConfigMap that keeps an agent's artifacts after its pod is gone. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from guildnet_operator.manifests.metadata import child_labels, owner_reference
from guildnet_operator.views import ARTIFACT_DIGESTS, TaskView


def artifacts_config_map(
    task: TaskView, digests: Mapping[str, str], bodies: Mapping[str, bytes]
) -> dict[str, Any]:
    """`digests` of all stored artifacts, `bodies` of the new ones. Binary data keeps every byte."""
    listed = ",".join(f"{name}={digest}" for name, digest in sorted(digests.items()))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": task.child_name,
            "namespace": task.namespace,
            "labels": child_labels(task),
            "annotations": {ARTIFACT_DIGESTS: listed},
            "ownerReferences": [owner_reference(task)],
        },
        "binaryData": {
            name: base64.b64encode(body).decode() for name, body in sorted(bodies.items())
        },
    }
