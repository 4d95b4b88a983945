"""Addresses of repositories: which are accepted, and where a local repository keeps its refs."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.redact import strip_url

SCHEMES = ("http", "https", "ssh", "file")
_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?\[?[A-Za-z0-9.:-]+\]?:(?!:)[^:].*", re.DOTALL)


def check_url(url: str) -> str:
    """The address to pass to git: an http, https or ssh URL, `host:path`, or a local folder.

    Raises ConfigurationError for another transport, a password in the URL, or a command-line
    option.
    """
    if not url or url.startswith("-") or any(ord(char) < 0x20 for char in url):
        raise ConfigurationError("not an address of a git repository", place=strip_url(url))
    if "://" in url:
        return _check_scheme(url)
    if "::" in url:
        raise _transport_refused(url)
    if is_folder(url):
        return str(Path(url).expanduser().absolute())
    if _SCP_LIKE.fullmatch(url):
        return url
    raise ConfigurationError(
        "neither an existing folder nor a URL",
        place=strip_url(url),
        cure="give an http, https or ssh URL, or the folder of a repository",
    )


def _check_scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError as error:
        raise ConfigurationError(f"not a URL: {error}", place=strip_url(url)) from error
    if parts.scheme not in SCHEMES:
        raise _transport_refused(url)
    if password is not None or (parts.username is not None and parts.scheme != "ssh"):
        raise ConfigurationError(
            "the URL contains a user name or a password",
            place=strip_url(url),
            cure="remove it from the URL and give it as a credential",
        )
    return url


def _transport_refused(url: str) -> ConfigurationError:
    return ConfigurationError(
        "unsupported transport",
        place=strip_url(url),
        cure="use https, ssh, http or a folder",
    )


def is_folder(url: str) -> bool:
    """Whether `url` names a folder that exists on this machine."""
    try:
        return Path(url).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


def git_dir_of(url: str) -> Path | None:
    """The git directory of a local repository, with its `refs` and `packed-refs`.

    For a linked work tree, the common directory. None if `url` is not a folder on this machine.
    """
    folder = Path(url.removeprefix("file://")).expanduser()
    if not is_folder(str(folder)):
        return None
    dot_git = folder / ".git"
    if dot_git.is_file():
        return _linked(folder, dot_git)
    if dot_git.is_dir():
        return dot_git
    return folder if (folder / "objects").is_dir() and (folder / "HEAD").is_file() else None


def _linked(folder: Path, dot_git: Path) -> Path | None:
    pointed = (folder / _first_line(dot_git).removeprefix("gitdir:").strip()).resolve()
    common = pointed / "commondir"
    found = (pointed / _first_line(common)).resolve() if common.is_file() else pointed
    return found if found.is_dir() else None


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(4096).strip()
