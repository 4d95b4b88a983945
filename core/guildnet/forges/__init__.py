"""The only place that speaks to forges.

``detect`` gives a Forge for a repository's URL; everything else callers need is the port.
"""

from __future__ import annotations

from guildnet.errors import ForgeError, ForgeRefused, ForgeUnavailable
from guildnet.forges.detection import PROVIDERS, detect
from guildnet.forges.port import (
    CommitState,
    CommitStatus,
    Forge,
    PullRequest,
    PullRequestDraft,
    PullRequestState,
)

__all__ = [
    "PROVIDERS",
    "CommitState",
    "CommitStatus",
    "Forge",
    "ForgeError",
    "ForgeRefused",
    "ForgeUnavailable",
    "PullRequest",
    "PullRequestDraft",
    "PullRequestState",
    "detect",
]
