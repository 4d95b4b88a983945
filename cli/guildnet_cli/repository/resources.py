"""Files of orgs and tasks, read from a checkout or from the source branch, with bounds."""

from __future__ import annotations

from pathlib import Path

from guildnet import labels
from guildnet.errors import ConfigurationError, InvalidResource, Problem, RefNotFound
from guildnet.git.checkout import Checkout
from guildnet.loading import MAX_FILE_BYTES, load_org, path_problem
from guildnet.redact import strip_url
from guildnet.resources import Org, Source, org_path
from guildnet.work_tree import WorkTree
from guildnet_cli.repository.mirror import Remote, locate, open_mirror


def _check_path(path: str) -> None:
    """Raise InvalidResource where `path` cannot be the path of an org or task."""
    problem = path_problem(path)
    if problem is not None:
        raise InvalidResource([problem])


def read_resource(root: Path, path: str) -> bytes:
    """The file at `path` in the checkout at `root`, read as the reconciler would read it.

    Raises InvalidResource for an invalid path, one that leads through a link, and a file that is
    too large; ConfigurationError where the file does not exist.
    """
    _check_path(path)
    try:
        size, content = WorkTree(root).read(path, MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise ConfigurationError(
            "no such file",
            place=path,
            cure="Run this in a checkout of the state repository, or give --repo.",
        ) from error
    if content is None:
        message = f"{size:,} bytes; the limit is {MAX_FILE_BYTES:,}"
        raise InvalidResource([Problem(path, 0, message)])
    return content


def find_org(name: str, repo: str | None, *, local_only: bool = False) -> Org | None:
    """The org from the checkout that `repo` names, or the current one; else from the remote's
    source branch.

    With `local_only` and without `repo`, looks into the current checkout only, and returns None
    where the file is not in it. Raises InvalidResource for an invalid file, ConfigurationError
    where it does not exist.
    """
    path = org_path(name)
    _check_path(path)
    root = Path(repo) if repo is not None else Checkout(Path.cwd()).top_level() or Path()
    if WorkTree(root).kind(path) is not None:
        return load_org(read_resource(root, path), Source(path))
    if local_only and repo is None:
        return None
    content = _on_source_branch(locate(repo), path)
    if content is None:
        raise ConfigurationError(
            f"org {name} not found",
            place=f"{strip_url(repo or str(root))}: {path}",
            cure="Give the state repository with --repo, or add the org with `guildnet org add`.",
        )
    return load_org(content, Source(path))


def _on_source_branch(remote: Remote, path: str) -> bytes | None:
    with open_mirror(remote) as mirror:
        try:
            commit = remote.fetch(mirror, labels.SOURCE_BRANCH)
        except RefNotFound:
            return None
        return mirror.show(commit, path, max_bytes=MAX_FILE_BYTES)
