"""Files of a checkout, read as the reconciler would: regular, under the root, of bounded size."""

from __future__ import annotations

from pathlib import Path

from guildnet.errors import ConfigurationError, InvalidResource, Problem
from guildnet.loading import MAX_FILE_BYTES, path_problem
from guildnet.work_tree import WorkTree


def read_resource(root: Path, path: str) -> bytes:
    """The file at `path`.

    Raises InvalidResource for a path that no resource can have, for one that leads through a
    link, and for a file that is larger than a resource may be; ConfigurationError when there is
    no such file.
    """
    misnamed = path_problem(path)
    if misnamed is not None:
        raise InvalidResource([misnamed])
    try:
        size, content = WorkTree(root).read(path, MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise ConfigurationError(
            "no such file",
            place=path,
            cure="Run this in the state repository's folder, or name it with --repo.",
        ) from error
    if content is None:
        message = f"{size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
        raise InvalidResource([Problem(path, 0, message)])
    return content
