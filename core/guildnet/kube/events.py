"""Build Kubernetes Event objects. Pure, except for the time and the random name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from time import time_ns
from typing import Any
from uuid import uuid4

# The API server refuses longer messages.
MAX_MESSAGE_CHARS = 1024
_MAX_NAME_CHARS = 200


def event_on(
    involved: Mapping[str, Any], *, reason: str, message: str, component: str, warning: bool
) -> dict[str, Any]:
    """An Event about `involved`; it is in namespace `default` if the object has no namespace."""
    metadata = involved["metadata"]
    namespace = metadata.get("namespace") or "default"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    reference = {
        "apiVersion": involved["apiVersion"],
        "kind": involved["kind"],
        "name": metadata["name"],
        "namespace": metadata.get("namespace", ""),
        "uid": metadata.get("uid", ""),
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            # The name sorts by time, because timestamps have a resolution of one second.
            "name": f"{metadata['name'][:_MAX_NAME_CHARS]}.{time_ns():016x}{uuid4().hex[:4]}",
            "namespace": namespace,
        },
        "involvedObject": {key: value for key, value in reference.items() if value},
        "reason": reason,
        "message": message[:MAX_MESSAGE_CHARS],
        "type": "Warning" if warning else "Normal",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": component},
        "reportingComponent": component,
    }
