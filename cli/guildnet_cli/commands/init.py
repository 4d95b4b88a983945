"""`guildnet init`: lay out a state repository from repo-template/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guildnet_cli.output import examples, say

_EXAMPLES = ("orgs/example.yaml", "tasks/example/")
_KEPT_FOLDERS = ("orgs", "tasks")


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("guildnet init state", "guildnet init state --no-examples"))(init)


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to write to; created if missing.")
    ],
    with_examples: Annotated[
        bool, typer.Option("--examples/--no-examples", help="Add an example org with tasks.")
    ] = True,
) -> None:
    """Create a state repository.

    It has folders for orgs and tasks, JSON Schemas for editors, and a CI workflow.
    """
    for path in lay_out(directory, with_examples=with_examples):
        typer.echo(path)
    say(
        f"State repository created in {directory}. Next:\n"
        f"  cd {directory}\n"
        "  guildnet org add NAME --kubeconfig FILE\n"
        "  git add . && git commit -m 'Lay out the state repository'"
    )


def lay_out(directory: Path, *, with_examples: bool) -> list[str]:
    """Copy the template into `directory` and make it a git repository; returns the paths written.

    Raises ConfigurationError, and writes nothing, where one of the files exists already.
    """
    from guildnet.errors import ConfigurationError
    from guildnet.git.checkout import Checkout
    from guildnet.work_tree import WorkTree

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
            f"already there: {', '.join(present)}",
            place=str(directory),
            cure="Choose another folder; nothing was written.",
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


def template_folder() -> Path:
    """The template in the installed package, or in the checkout that this code runs from."""
    from guildnet.errors import ConfigurationError

    package = Path(__file__).resolve().parents[1]
    for folder in (package / "repo_template", package.parents[1] / "repo-template"):
        if folder.is_dir():
            return folder
    raise ConfigurationError(
        "the template of a state repository is missing",
        place=str(package),
        cure="Reinstall guildnet.",
    )
