"""Links to forges in pages: which URLs are safe to link, and how pull requests are shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from guildnet.redact import hide_user_info
from guildnet_dashboard.json_values import number, text

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, slots=True)
class Link:
    """A pull request as shown; `url` is None unless it is safe to link."""

    text: str
    url: str | None
    state: str


def web_address(url: Any) -> str | None:
    """Return `url` if it is safe to link: http or https, with a host, without user information."""
    if not isinstance(url, str) or len(url) > 2048 or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    return url


def pull_request_link(value: Any) -> Link | None:
    """The link for a recorded pull request, given as an object or as its URL; None without one."""
    if isinstance(value, str) and value:
        tail = value.rstrip("/").rpartition("/")[2]
        shown = f"#{tail}" if tail.isdigit() else hide_user_info(value)
        return Link(shown, web_address(value), "")
    if not isinstance(value, dict) or not value:
        return None
    repository, count = text(value, "repository"), number(value, "number")
    shown = f"{repository}#{count}" if count else text(value, "title") or "pull request"
    return Link(shown, web_address(value.get("url")), text(value, "state"))


def with_short_link(message: str, link: Link | None) -> str:
    """Replace the URL of a pull request by its short name, since the page already links it."""
    if link is None or link.url is None:
        return message
    return re.sub(re.escape(link.url.rstrip("/")) + r"/?(?![\w/?#-])", lambda _: link.text, message)


# (path of pull requests, path of commits) in the URLs of each forge.
_URL_PATHS = {
    "gitea": ("/pulls/", "/commit/"),
    "github": ("/pull/", "/commit/"),
    "gitlab": ("/-/merge_requests/", "/-/commit/"),
    "bitbucket": ("/pull-requests/", "/commits/"),
    "bitbucket-server": ("/pull-requests/", "/commits/"),
}


def commit_address(record: Mapping[str, Any]) -> str | None:
    """The URL of a record's commit, derived from its pull request's; None if unknown."""
    pull_request, commit = record.get("pullRequest"), text(record, "commit")
    if not isinstance(pull_request, dict) or not _COMMIT.fullmatch(commit):
        return None
    url, paths = (
        web_address(pull_request.get("url")),
        _URL_PATHS.get(text(pull_request, "provider")),
    )
    if url is None or paths is None or paths[0] not in url:
        return None
    return url.rpartition(paths[0])[0] + paths[1] + commit
