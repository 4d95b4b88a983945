"""Where a repository is: which URLs are taken, how they are shown, where a local one keeps refs."""

from __future__ import annotations

from pathlib import Path


def check_url(url: str) -> str:
    """The URL as git gets it. Taken are http, https, ssh, `host:path` and local folders.

    Raises ConfigurationError for any other transport, a password in the URL, or an option
    in its place.
    """
    raise NotImplementedError


def redact_url(text: str) -> str:
    """`text` with the user information and query of every URL in it taken out (I8)."""
    raise NotImplementedError


def git_dir_of(url: str) -> Path | None:
    """The folder whose `refs` and `packed-refs` change when a local repository does; None where
    `url` is not a folder on this machine. For linked work trees, the common folder."""
    raise NotImplementedError
