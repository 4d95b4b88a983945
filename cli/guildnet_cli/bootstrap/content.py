"""What a repository on a forge contains, and the template pushed into an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from guildnet.errors import ConfigurationError
from guildnet.git import BranchWriter, Credentials, Mirror

_SIGNS = ("schemas/org.schema.json", "orgs")


class Content(StrEnum):
    """What the source branch has."""

    EMPTY = "empty"
    STATE = "a state repository"
    FOREIGN = "other files"


@dataclass(frozen=True)
class RemoteContent:
    """The repository at `url` (HTTP), with a token that may push to it."""

    url: str
    credentials: Credentials
    branch: str
    status_branch: str

    def inspect(self) -> Content:
        """What the repository contains. Raises GitUnavailable."""
        with self._mirror() as mirror:
            heads = set(mirror.ls_remote(["refs/heads/*"]))
            if f"refs/heads/{self.branch}" in heads:
                commit = mirror.fetch([self.branch])[self.branch]
                found = mirror.lookups([f"{commit}:{sign}" for sign in _SIGNS])
                return Content.STATE if any(found) else Content.FOREIGN
            return (
                Content.FOREIGN if heads - {f"refs/heads/{self.status_branch}"} else Content.EMPTY
            )

    def push_template(self, *, with_examples: bool) -> None:
        """Push the files that `guildnet init` lays out as the first commit of the branch."""
        from guildnet_cli.commands.init import lay_out

        with TemporaryDirectory(prefix="guildnet-") as folder:
            paths = lay_out(Path(folder) / "state", with_examples=with_examples)
            files = {path: (Path(folder) / "state" / path).read_bytes() for path in paths}
        with self._mirror() as mirror:
            BranchWriter(mirror, self.branch).create_root(files, "Lay out the state repository")

    @contextmanager
    def _mirror(self) -> Iterator[Mirror]:
        with (
            TemporaryDirectory(prefix="guildnet-") as folder,
            Mirror.open(self.url, Path(folder) / "m.git", credentials=self.credentials) as mirror,
        ):
            yield mirror


def refuse_foreign(content: Content, url: str, branch: str) -> None:
    """Raises ConfigurationError for a repository with other files."""
    if content is Content.FOREIGN:
        raise ConfigurationError(
            f"the repository has files, and its branch {branch} is not a state repository",
            place=url,
            cure="Name a repository that is empty, does not exist, or was made by `guildnet init`. "
            "Nothing was changed.",
        )
