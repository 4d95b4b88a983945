"""repo-template/: the state repository that `guildnet init` lays out."""

from __future__ import annotations

from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.git.checkout import Checkout
from guildnet.work_tree import WorkTree

_EXAMPLES = ("orgs/example.yaml", "tasks/example/")
_KEPT_FOLDERS = ("orgs", "tasks")


def template_folder() -> Path:
    """The template beside the installed package, or in the checkout it runs from."""
    package = Path(__file__).resolve().parent
    for folder in (package / "repo_template", package.parents[1] / "repo-template"):
        if folder.is_dir():
            return folder
    raise ConfigurationError(
        "the template of a state repository is missing",
        place=str(package),
        cure="Install guildnet again.",
    )


def lay_out(directory: Path, *, with_examples: bool) -> list[str]:
    """Copy the template into `directory` and make it a git repository; the paths written.

    Nothing is overwritten: raises ConfigurationError when one of the files exists already.
    """
    template = template_folder()
    paths = [
        path
        for path in sorted(p.relative_to(template).as_posix() for p in template.rglob("*"))
        if (template / path).is_file() and (with_examples or not path.startswith(_EXAMPLES))
    ]
    tree = WorkTree(directory)
    present = [path for path in paths if directory.is_dir() and tree.kind(path) is not None]
    if present:
        raise ConfigurationError(
            f"{', '.join(present)} exist{'s' * (len(present) == 1)} already",
            place=str(directory),
            cure="Name a folder without them; nothing was written.",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot write: {error.strerror}", place=str(directory)) from error
    for path in paths:
        tree.create(path, (template / path).read_bytes())
    for name in _KEPT_FOLDERS:
        tree.make_folder(name)
    Checkout(directory).init()
    return paths
