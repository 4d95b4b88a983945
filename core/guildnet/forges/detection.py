"""Which forge a repository's URL belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError, ForgeRefused
from guildnet.forges.answers import value
from guildnet.forges.gitea import Gitea
from guildnet.forges.github import GitHub
from guildnet.forges.port import Forge
from guildnet.forges.transport import Transport, UnreadableAnswer

#: Names that a task may give; `git` is a server without pull requests.
PROVIDERS = ("git", "gitea", "forgejo", "github")

_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?P<path>[^/].*)")


@dataclass(frozen=True)
class RepositoryAddress:
    """A repository's place on its forge: the forge's root URL, and ``owner/name``."""

    root_url: str
    repository: str

    @property
    def host(self) -> str:
        """The host's name in lower case, without a port."""
        return (urlsplit(self.root_url).hostname or "").lower()


async def detect(url: str, provider: str | None = None, token: str | None = None) -> Forge | None:
    """The forge of the repository at ``url`` (https, http or ssh), None for plain git.

    ``provider`` is one of PROVIDERS, or None to tell by the host's name and, for an unknown host,
    by asking it without the token. Raises ConfigurationError for an unknown provider and
    ForgeUnavailable when an unknown host does not answer.
    """
    if provider is not None and provider not in PROVIDERS:
        raise ConfigurationError(
            f"unknown forge {provider!r}", cure=f"use one of {', '.join(PROVIDERS)}"
        )
    address = parse_address(url)
    if address is None or provider == "git":
        return None
    kind = provider or _known_kind(address.host) or await _asked_kind(address)
    if kind is None:
        return None
    if kind == "github":
        return GitHub(_github_api(address), address.repository, token)
    return Gitea(address.root_url, address.repository, token)


def parse_address(url: str) -> RepositoryAddress | None:
    """Where ``url`` points on a forge; None for local paths and what has no owner and name.

    An ssh URL is taken for its host's HTTPS pages, and user information is dropped.
    """
    if "://" not in url:
        match = _SCP_LIKE.fullmatch(url)
        return _address("https", match["host"], match["path"]) if match else None
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return _address(parts.scheme, parts.netloc.rpartition("@")[2], parts.path)
    if parts.scheme in ("ssh", "git+ssh") and parts.hostname:
        return _address("https", parts.hostname, parts.path)
    return None


def _address(scheme: str, host: str, path: str) -> RepositoryAddress | None:
    segments = [segment for segment in path.split("/") if segment]
    if not host or len(segments) < 2:
        return None
    *prefix, owner, name = segments
    root_url = "/".join([f"{scheme}://{host}", *prefix])
    return RepositoryAddress(root_url, f"{owner}/{name.removesuffix('.git')}")


def _known_kind(host: str) -> str | None:
    if host == "github.com" or host.endswith(".ghe.com"):
        return "github"
    if host in ("gitea.com", "codeberg.org"):
        return "gitea"
    return None


def _github_api(address: RepositoryAddress) -> str:
    """Source: docs.github.com on the API's roots of github.com, data residency and Enterprise."""
    if address.host == "github.com":
        return "https://api.github.com"
    if address.host.endswith(".ghe.com"):
        return f"https://api.{address.host}"
    return f"{address.root_url}/api/v3"


async def _asked_kind(address: RepositoryAddress) -> str | None:
    """Gitea and Forgejo tell their version to anybody; GitHub Enterprise has its own API root."""
    if await _version_at(f"{address.root_url}/api/v1", "/version", "version"):
        return "gitea"
    if await _version_at(f"{address.root_url}/api/v3", "/meta", "installed_version"):
        return "github"
    return None


async def _version_at(api_url: str, path: str, key: str) -> bool:
    transport = Transport(
        api_url, headers={}, secret=None, rate_limit=lambda status, headers, message: None
    )
    try:
        told = await transport.get(path)
    except (ForgeRefused, UnreadableAnswer):
        return False
    return isinstance(value(told, key), str)
