"""The only code that calls the APIs of forges.

``detect`` returns the Forge of a repository's URL; callers use it through the protocol `Forge`.
``detect_administration`` returns what sets a repository up, by the protocol `Administration`.
"""

from __future__ import annotations

from guildnet.errors import ForgeError, ForgeRefused, ForgeUnavailable
from guildnet.forges.administration import (
    Administration,
    DeployKey,
    HostedRepository,
    NotOffered,
    Protection,
    Webhook,
)
from guildnet.forges.detection import PROVIDERS, detect, detect_administration
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
    "Administration",
    "CommitState",
    "CommitStatus",
    "DeployKey",
    "Forge",
    "ForgeError",
    "ForgeRefused",
    "ForgeUnavailable",
    "HostedRepository",
    "NotOffered",
    "Protection",
    "PullRequest",
    "PullRequestDraft",
    "PullRequestState",
    "Webhook",
    "detect",
    "detect_administration",
]
