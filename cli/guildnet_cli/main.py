"""The entry point of the `guildnet` command: registers the verbs and prints errors."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from guildnet.errors import GuildNetError
from guildnet_cli.commands import (
    backup,
    bootstrap,
    doctor,
    editor,
    init,
    logs,
    mesh,
    notify,
    org,
    plan,
    schema,
    secret,
    services,
    status,
    sync,
    task,
    validate,
    verify_status,
)
from guildnet_cli.output import describe

# Verbs whose modules are imported only when called: module, its Typer app, one-line help.
_LATE = {
    "talos": (
        "guildnet_cli.talos.verbs",
        "talos_app",
        "Make and keep an org's Talos machines, from git.",
    ),
    "devcluster": (
        "guildnet_cli.commands.devcluster",
        "devcluster_app",
        "Run a disposable Kubernetes cluster on this machine.",
    ),
    "demo": (
        "guildnet_demo",
        "demo_app",
        "Run a demo on real clusters, from commit to pull request.",
    ),
}


# The order in which a newcomer needs them.
_ORDER = (
    *(
        "init",
        "bootstrap",
        "org",
        "talos",
        "secret",
        "doctor",
        "task",
        "validate",
        "plan",
        "status",
        "verify-status",
        "logs",
        "editor",
        "mesh",
        "notify",
    ),
    "backup",
    *("sync", "reconciler", "operator", "agent", "dashboard", "schema", "devcluster", "demo"),
)


class _Verbs(TyperGroup):
    """The top-level group. It knows the late verbs by name and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted((*super().list_commands(ctx), *_LATE), key=_ORDER.index)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _LATE:
            return TyperCommand(cmd_name, help=_LATE[cmd_name][2])
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in _LATE:
            return args[0], _late_command(args[0]), args[1:]
        return super().resolve_command(ctx, args)


def _late_command(name: str) -> Any:
    module, attribute, _ = _LATE[name]
    found: typer.Typer = getattr(importlib.import_module(module), attribute)
    command: Any = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(
    name="guildnet",
    cls=_Verbs,
    help="Run coding agents in your organisations' own Kubernetes clusters, driven by git.\n\n"
    "Commit a YAML file to start a task; its pull request, artifacts and status come back to git.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for module in (
    *(
        init,
        bootstrap,
        org,
        secret,
        doctor,
        task,
        validate,
        plan,
        status,
        verify_status,
        logs,
        editor,
        mesh,
        backup,
        notify,
        sync,
        services,
    ),
    schema,
):
    module.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from guildnet import __version__

        typer.echo(f"guildnet {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """The options of `guildnet` itself."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed or invalid, 2 wrong usage."""
    try:
        app(prog_name="guildnet")
    except GuildNetError as error:
        typer.echo(describe(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
