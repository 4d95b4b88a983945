"""The command's own mirror of a state repository, in the state directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from guildnet.digest import sha256_hex
from guildnet.errors import ConfigurationError
from guildnet.git import CredentialProvider, Mirror
from guildnet.git.checkout import Checkout
from guildnet.state_folder import open_private, private_folder, state_folder


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository to mirror; with `through_origin` it is a checkout whose origin counts."""

    url: str
    through_origin: bool = False

    def fetch(self, mirror: Mirror, branch: str) -> str:
        """Fetch `branch` into `mirror`; returns its commit. Raises RefNotFound.

        The user's own git fetches into a checkout first, with the user's credentials.
        """
        name = Checkout(Path(self.url)).fetch(branch) if self.through_origin else branch
        return mirror.fetch([name])[name]


def locate(repo: str | None) -> Remote:
    """The repository that `repo` names: a URL or a folder; for None the current checkout.

    The status branch is pushed to origin, so for the current checkout its origin is read; without
    an origin, the checkout itself.
    """
    if repo is not None:
        return Remote(str(Path(repo).resolve()) if Path(repo).is_dir() else repo)
    root = Checkout(Path.cwd()).top_level()
    if root is None:
        raise ConfigurationError(
            "not in a checkout of a state repository",
            place=str(Path.cwd()),
            cure="Change into one, or give the repository with --repo.",
        )
    return Remote(str(root), through_origin=Checkout(root).has_origin())


@contextmanager
def open_mirror(remote: Remote, credentials: CredentialProvider | None = None) -> Iterator[Mirror]:
    """The mirror of `remote`, locked against other commands."""
    folder = state_folder() / "mirrors" / f"cli-{sha256_hex(remote.url.encode())[:16]}"
    try:
        private_folder(folder.parent)
        lock = open(folder.with_suffix(".lock"), "w", opener=open_private)  # noqa: SIM115 - held below
    except OSError as error:
        raise ConfigurationError(
            f"cannot write: {error.strerror}",
            place=str(folder.parent),
            cure="Set GUILDNET_STATE_DIR to a folder that you can write to.",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Mirror.open(remote.url, folder, credentials=credentials) as mirror:
            yield mirror
