"""Files of a checkout, read as the reconciler would: regular, under the root, of bounded size."""

from __future__ import annotations

from pathlib import Path

from guildnet.errors import ConfigurationError, InvalidResource, Problem
from guildnet.loading import MAX_FILE_BYTES, path_problem


def read_resource(root: Path, path: str) -> bytes:
    """The file at `path`; at most one byte more than a resource may have is read.

    Raises InvalidResource for a path that no resource can have and for a symlink,
    ConfigurationError when there is no such file.
    """
    misnamed = path_problem(path)
    if misnamed is not None:
        raise InvalidResource([misnamed])
    file = root / path
    if file.is_symlink():
        raise InvalidResource([Problem(path, 0, "a symlink; only regular files are read")])
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigurationError(
            "no such file",
            place=path,
            cure="Run this in the state repository's folder, or name it with --repo.",
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", place=path) from error
