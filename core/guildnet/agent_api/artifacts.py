"""Artifacts: their names, their bounds, and how the agent's state lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass

ARTIFACT_PATTERN = r"[a-z0-9_]{1,50}\.json"
MAX_ARTIFACTS = 16
"""How many artifacts a command may leave; `OWN_DOCUMENTS` come on top."""

MAX_ARTIFACT_BYTES = 256 * 1024
"""The limit for all artifacts of a start together: they share one ConfigMap."""

LAST_PR = "last_pr.json"
LAST_RUN = "last_run.json"
OWN_DOCUMENTS = (LAST_PR, LAST_RUN)
"""Artifacts that the supervisor itself writes; the state carries their content."""

MAX_DOCUMENT_BYTES = 4 * 1024
"""The limit for each of `OWN_DOCUMENTS`."""

_NAME = re.compile(ARTIFACT_PATTERN)


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact as the agent's state lists it; ``sha256`` is 64 hex digits."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RejectedArtifact:
    """A file of the command that cannot be an artifact; ``reason``: Invalid or TooLarge."""

    name: str
    reason: str
    message: str


def is_artifact_name(value: object) -> bool:
    """Whether ``value`` can name an artifact."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
