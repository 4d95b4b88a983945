"""Finds out which forge hosts a repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError, ForgeRefused
from guildnet.forges import bitbucket
from guildnet.forges.administration import Administration
from guildnet.forges.answers import value
from guildnet.forges.bitbucket_server import BitbucketServer
from guildnet.forges.gitea import Gitea
from guildnet.forges.gitea_administration import GiteaAdministration
from guildnet.forges.github import GitHub
from guildnet.forges.github_administration import GitHubAdministration
from guildnet.forges.gitlab import GitLab
from guildnet.forges.gitlab_administration import GitLabAdministration
from guildnet.forges.port import Forge
from guildnet.forges.transport import Transport, UnreadableAnswer, no_rate_limit
from guildnet.redact import strip_url

if TYPE_CHECKING:
    from guildnet.forges.github_app import GitHubApp

#: The values of `provider` for `detect`; `git` is a server without pull requests.
PROVIDERS = ("git", "gitea", "forgejo", "github", "gitlab", "bitbucket", "bitbucket-server")

_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?P<path>[^/].*)")


@dataclass(frozen=True)
class RepositoryAddress:
    """The URL of a repository's host, and the repository's path without ``.git``."""

    host_url: str
    path: str

    @property
    def root_url(self) -> str:
        """The root URL of the forge, if its repositories are ``owner/name``."""
        return "/".join([self.host_url, *self.path.split("/")[:-2]])

    @property
    def repository(self) -> str:
        """``owner/name``."""
        return "/".join(self.path.split("/")[-2:])

    @property
    def host(self) -> str:
        """The host's name in lower case, without a port."""
        return (urlsplit(self.host_url).hostname or "").lower()


async def detect(
    url: str,
    provider: str | None = None,
    token: str | None = None,
    authorities: str | None = None,
) -> Forge | None:
    """The forge of the repository at ``url`` (https, http or ssh), None for plain git.

    ``provider`` is one of PROVIDERS. If it is None, the host's name decides, or, for an unknown
    host, its answers to requests without the token. ``authorities`` are certificates (PEM) to trust
    in addition to the system's. Raises ConfigurationError for an unknown provider, and
    ForgeUnavailable if an unknown host does not answer.
    """
    address = parse_address(url)
    kind = await _kind(address, provider, authorities)
    if address is None or kind is None:
        return None
    if kind == "github":
        return GitHub(_github_api(address), address.repository, token, authorities)
    if kind == "gitlab":
        # Groups can be nested, so the whole path is the project's.
        return GitLab(address.host_url, address.path, token, authorities)
    if kind == "bitbucket-server":
        return BitbucketServer(_server_root(address), address.repository, token, authorities)
    if kind == "bitbucket":
        return bitbucket.Bitbucket(bitbucket.API_URL, address.repository, token, authorities)
    return Gitea(address.root_url, address.repository, token, authorities)


async def detect_administration(
    url: str, provider: str | None, token: str, authorities: str | None = None
) -> Administration | None:
    """The administration of the repository at ``url``, which need not exist yet.

    None for plain git and for forges without one. Otherwise as `detect`.
    """
    address = parse_address(url)
    kind = await _kind(address, provider, authorities)
    if address is None:
        return None
    if kind == "github":
        return GitHubAdministration(_github_api(address), address.repository, token, authorities)
    if kind == "gitlab":
        return GitLabAdministration(address.host_url, address.path, token, authorities)
    if kind in ("gitea", "forgejo"):
        return GiteaAdministration(address.root_url, address.repository, token, authorities)
    return None


def github_app(folder: Path, url: str) -> GitHubApp:
    """The provider of tokens for the repository at `url` (http or https), with the app's files in
    `folder`. Raises ConfigurationError."""
    # Imported late: few use it, and its cryptography takes long to load.
    from guildnet.forges.github_app import GitHubApp

    address = parse_address(url)
    if address is None or not url.startswith(("https://", "http://")):
        raise ConfigurationError(
            "a GitHub App needs the https URL of a repository on GitHub", place=strip_url(url)
        )
    return GitHubApp(folder, _github_api(address), address.repository)


async def _kind(
    address: RepositoryAddress | None, provider: str | None, authorities: str | None
) -> str | None:
    """One of PROVIDERS other than ``git``; None if the host is not a known forge."""
    if provider is not None and provider not in PROVIDERS:
        raise ConfigurationError(
            f"unknown forge {provider!r}", cure=f"use one of {', '.join(PROVIDERS)}"
        )
    if address is None or provider == "git":
        return None
    return provider or _known_kind(address.host) or await _detect_kind(address, authorities)


def parse_address(url: str) -> RepositoryAddress | None:
    """Parse a repository's URL; None for local paths, and for paths without owner and name.

    The API of an ssh URL's host is assumed to be at https. User information is dropped.
    """
    if "://" not in url:
        match = _SCP_LIKE.fullmatch(url)
        return _address("https", match["host"], match["path"]) if match else None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme in ("http", "https"):
        return _address(parts.scheme, parts.netloc.rpartition("@")[2], parts.path)
    if parts.scheme in ("ssh", "git+ssh") and parts.hostname:
        return _address("https", parts.hostname, parts.path)
    return None


def _address(scheme: str, host: str, path: str) -> RepositoryAddress | None:
    segments = [segment for segment in path.split("/") if segment]
    if not host or len(segments) < 2:
        return None
    return RepositoryAddress(f"{scheme}://{host}", "/".join(segments).removesuffix(".git"))


def _known_kind(host: str) -> str | None:
    if host == "github.com" or host.endswith(".ghe.com"):
        return "github"
    return _HOSTS.get(host)


_HOSTS = {
    "gitea.com": "gitea",
    "codeberg.org": "gitea",
    "gitlab.com": "gitlab",
    "bitbucket.org": "bitbucket",
}


def _github_api(address: RepositoryAddress) -> str:
    """The root URL of GitHub's API.

    Source: docs.github.com for github.com, data residency and Enterprise.
    """
    if address.host == "github.com":
        return "https://api.github.com"
    if address.host.endswith(".ghe.com"):
        return f"https://api.{address.host}"
    return f"{address.root_url}/api/v3"


def _server_root(address: RepositoryAddress) -> str:
    """The root URL of Bitbucket Data Center, whose clone URLs are below ``/scm``."""
    return address.root_url.removesuffix("/scm")


async def _detect_kind(address: RepositoryAddress, authorities: str | None) -> str | None:
    """Find out the kind of an unknown forge from its answers to requests without a token.

    Gitea, Forgejo and GitHub Enterprise answer with their version, Bitbucket Data Center with its
    name. GitLab refuses with a message that is typical of it.
    """
    gitea = await _anonymous_answer(f"{address.root_url}/api/v1", "/version", authorities)
    if isinstance(value(gitea, "version"), str):
        return "gitea"
    github = await _anonymous_answer(f"{address.root_url}/api/v3", "/meta", authorities)
    if isinstance(value(github, "installed_version"), str):
        return "github"
    gitlab = await _anonymous_answer(f"{address.host_url}/api/v4", "/version", authorities)
    if gitlab == "401: 401 Unauthorized":
        return "gitlab"
    api_url = f"{_server_root(address)}/rest/api/1.0"
    named = await _anonymous_answer(api_url, "/application-properties", authorities)
    return "bitbucket-server" if value(named, "displayName") == "Bitbucket" else None


async def _anonymous_answer(api_url: str, path: str, authorities: str | None) -> Any:
    """The JSON answered to a request without a token, or a refusal's message; None if not JSON."""
    transport = Transport(
        api_url, headers={}, secret=None, rate_limit=no_rate_limit, authorities=authorities
    )
    try:
        return await transport.get(path)
    except UnreadableAnswer:
        return None
    except ForgeRefused as refusal:
        return refusal.message
