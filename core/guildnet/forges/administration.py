"""What `guildnet bootstrap` needs from a forge: to create a repository and to set it up.

Separate from `Forge`: it takes a token that may administer the repository, which no service holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from guildnet.errors import ForgeRefused
from guildnet.forges.answers import items
from guildnet.forges.transport import Transport

PAGE = 50
_MAX_PAGES = 20


class NotOffered(ForgeRefused):
    """This forge, in this version or plan, does not offer what was requested."""


@dataclass(frozen=True)
class HostedRepository:
    """An existing repository: its URL for HTTP and the one for SSH, without credentials."""

    clone_url: str
    ssh_url: str


@dataclass(frozen=True)
class Webhook:
    """An existing webhook. `gaps` says how it differs from what is wanted; empty if it does not.
    Forges do not return secrets, so the secret is never compared."""

    id: int
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeployKey:
    """An SSH key for one repository."""

    id: int
    can_write: bool


@dataclass(frozen=True)
class Protection:
    """The wanted protection of a branch: never rewound, never deleted.

    Without `deploy_key` it changes through pull requests alone, each with `approvals` approvals.
    With `deploy_key` (an OpenSSH public key) only deploy keys push to it, and nothing is merged
    into it.
    """

    branch: str
    approvals: int = 0
    deploy_key: str | None = None


class Administration(Protocol):
    """One repository on one forge, which need not exist yet.

    Every method may raise ForgeUnavailable or ForgeRefused, and NotOffered for what the forge
    lacks.
    """

    repository: str
    """`owner/name`; on GitLab `group/subgroup/name`."""

    @property
    def provider(self) -> str:
        """``gitea``, ``github`` or ``gitlab``."""
        ...

    @property
    def scopes(self) -> str:
        """The permissions that the token needs, in the forge's own words."""
        ...

    async def find_repository(self) -> HostedRepository | None:
        """The repository; None if it does not exist or the token cannot see it."""
        ...

    async def create_repository(self) -> HostedRepository:
        """Create the repository, private and empty."""
        ...

    async def find_webhook(self, url: str, branch: str) -> Webhook | None:
        """The webhook that posts to `url`, compared with one for pushes to `branch`."""
        ...

    async def set_webhook(self, known: Webhook | None, url: str, branch: str, secret: str) -> None:
        """Create the webhook, or change the known one. Signed JSON for each push to `branch`, or
        to any branch where the forge has no filter."""
        ...

    async def find_deploy_key(self, public_key: str) -> DeployKey | None:
        """The deploy key with this public key, whatever its title."""
        ...

    async def set_deploy_key(self, known: DeployKey | None, title: str, public_key: str) -> None:
        """Add the key with write access, or give the known one write access."""
        ...

    async def protection_gaps(self, wanted: Protection) -> tuple[str, ...] | None:
        """What the branch's protection lacks; empty if nothing, None without a protection."""
        ...

    async def protect(self, wanted: Protection) -> None:
        """Create the protection or complete it. Stricter settings stay."""
        ...

    def limits(self, wanted: Protection) -> tuple[str, ...]:
        """The parts of the protection that `protect` cannot set on this forge."""
        ...

    async def host_keys(self) -> tuple[str, ...]:
        """The SSH server's public keys (`type base64`), if the forge's API has them."""
        ...


def is_key(given: Any, public_key: str) -> bool:
    """Whether two OpenSSH public keys are the same; their comments may differ."""
    return isinstance(given, str) and given.split()[:2] == public_key.split()[:2]


async def listed(transport: Transport, path: str, size_name: str) -> list[Any]:
    """All items of a paged list, at most 1,000. `size_name` is the query's name of a page's
    size."""
    found: list[Any] = []
    for page in range(1, _MAX_PAGES + 1):
        query: dict[str, int] = {size_name: PAGE, "page": page}
        answer = items(await transport.get(path, **query))
        # A server may return smaller pages than requested: only an empty one is the last.
        if not answer:
            break
        found += answer
    return found


async def found_or_none(transport: Transport, path: str) -> Any:
    """The JSON at `path`; None for 404."""
    try:
        return await transport.get(path)
    except ForgeRefused as refusal:
        if refusal.status == 404:
            return None
        raise
