"""`guildnet mesh`: what the control server of the orgs' mesh must know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guildnet.mesh import MeshSettings


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Work with the Tailscale network of the orgs' agents.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )

    @group.callback()
    def mesh() -> None:
        """Work with the Tailscale network of the orgs' agents."""

    group.command(
        epilog=examples(
            "guildnet mesh policy > policy.hujson && headscale policy set --file policy.hujson",
            "guildnet mesh policy state --login-server https://headscale.example -o json",
        )
    )(policy)
    app.add_typer(group, name="mesh")


def policy(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A checkout of the state repository.")
    ] = Path(),
    login_server: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The control server, if the orgs of the repository use several."
        ),
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Print the control server's policy for all orgs.

    Each org's people (spec.mesh.people) reach the editors of their org's agents, and a reconciler
    with the tag tag:gn-reconciler reaches the API servers of clusters. Everything else is refused.
    The text format is HuJSON, which Headscale and Tailscale read.
    """
    from guildnet.errors import InvalidResource
    from guildnet.mesh import mesh_policy, policy_text
    from guildnet_reconciler.offline import mesh_orgs, read_work_tree

    tree = read_work_tree(directory)
    problems = [each for each in tree.problems if each.path.startswith("orgs/")]
    if problems:
        # Without an org's rules, its people would be refused.
        raise InvalidResource(sorted(problems))
    orgs = mesh_orgs(tree.orgs)
    server = _server(orgs, login_server, directory)
    found = mesh_policy({name: org for name, org in orgs.items() if org.login_server == server})
    emit(found, output, lambda: policy_text(found, server))


def _server(orgs: Mapping[str, MeshSettings], given: str | None, directory: Path) -> str:
    """The control server that is meant. Raises ConfigurationError where there is none, or where
    several are and none is given."""
    from guildnet.errors import ConfigurationError

    servers = sorted({org.login_server for org in orgs.values()})
    if given is not None and given.rstrip("/") in servers:
        return given.rstrip("/")
    if len(servers) == 1 and given is None:
        return servers[0]
    if not servers:
        message = "no org has a mesh"
        cure = "Set spec.mesh in an org's file."
    else:
        message = f"no org uses {given}" if given else "the orgs use several control servers"
        cure = f"Give --login-server {' or '.join(servers)}."
    raise ConfigurationError(message, place=str(directory / "orgs"), cure=cure)
