"""The verbs of `guildnet talos`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from guildnet.errors import GuildNetError
from guildnet.talos.configuration import Mode
from guildnet_cli.options import CheckoutOption
from guildnet_cli.output import Format, FormatOption, describe, emit, examples, say, say_changes
from guildnet_cli.talos import comparing
from guildnet_cli.talos.generating import generate
from guildnet_cli.talos.opening import alone, chosen, find_spec, open_cluster

talos_app = typer.Typer(
    name="talos",
    help="Make and keep an org's Talos machines, from git.\n\nRun it in a checkout of the state "
    "repository. Needs talosctl on PATH.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OrgArgument = Annotated[str, typer.Argument(metavar="ORG", help="The org.")]
NodeOption = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="ADDRESS", help="Only this machine. Repeatable."),
]
DIFFERENT, FAILED = 1, 2


@talos_app.command(epilog=examples("guildnet talos gen acme"))
def gen(
    org: OrgArgument, *, repo: CheckoutOption = Path(), output: FormatOption = Format.TEXT
) -> None:
    """Make the cluster's secrets once, and render its machine configurations.

    They are written to the state directory, readable by you alone; the same files in git give the
    same bytes.
    """
    spec = find_spec(repo, org)
    with alone(org) as state:
        _, made = generate(repo, spec, state)
    lines = [f"{address}: {path}" for address, path in made.files.items()]
    emit(made.to_json(), output, lambda: "\n".join(lines))
    say(f"{len(made.changed)} of {len(made.files)} configurations changed")


@talos_app.command(
    epilog=examples("guildnet talos diff acme", "guildnet talos diff acme --node 10.0.0.3 -o json")
)
def diff(
    org: OrgArgument,
    *,
    node: NodeOption = None,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Compare what the machines run with what git says.

    The machines answer themselves, by a dry run; keys are masked. Exits with 0 when all are the
    same, 1 when one differs, 2 when one could not be compared.
    """
    with _errors_as(FAILED):
        cluster = open_cluster(repo, org)
        results = comparing.compare(cluster, chosen(cluster.spec, node))
    emit([found.to_json() for found in results], output, lambda: comparing.to_text(results))
    kinds = {found.result for found in results}
    raise typer.Exit(FAILED if "failed" in kinds else DIFFERENT if kinds != {"same"} else 0)


@talos_app.command(
    name="apply",
    epilog=examples(
        "guildnet talos apply acme", "guildnet talos apply acme --node 10.0.0.3 --mode staged"
    ),
)
def apply_(
    org: OrgArgument,
    *,
    node: NodeOption = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="How a configured machine takes it over: no-reboot refuses what needs a reboot, "
            "auto may reboot, staged waits for the next boot, try reverts after a minute."
        ),
    ] = Mode.NO_REBOOT,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Give the machines the configuration that git says.

    Works on new machines in maintenance mode and on configured ones. Each machine judges its
    configuration in a dry run first; one that is the same is left alone.
    """
    find_spec(repo, org)
    with alone(org):
        cluster = open_cluster(repo, org)
        machines = chosen(cluster.spec, node)
        results = comparing.apply_all(cluster, machines, mode, say_changes())
    emit([found.to_json() for found in results], output, lambda: comparing.to_text(results))
    raise typer.Exit(1 if any(found.result == "failed" for found in results) else 0)


@contextmanager
def _errors_as(code: int) -> Iterator[None]:
    """End with `code` on an error. `diff` ends with 1 for a difference, as diff(1) does."""
    try:
        yield
    except GuildNetError as error:
        say(describe(error))
        raise typer.Exit(code) from error
