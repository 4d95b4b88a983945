"""The only code that calls the APIs of forges.

``detect`` returns the Forge of a repository's URL; callers use it through the protocol `Forge`.
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
