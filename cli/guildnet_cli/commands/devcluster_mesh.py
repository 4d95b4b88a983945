"""`guildnet devcluster mesh`: a disposable Headscale on this machine, and a client of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from guildnet_cli.output import Format, FormatOption, emit, examples, say, table

mesh_app = typer.Typer(
    name="mesh",
    help="Run a disposable Headscale for agents on a mesh.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: The name of this machine's client on the mesh.
_CLIENT = "this-machine"


@mesh_app.command(
    epilog=examples(
        "guildnet devcluster mesh up",
        "guildnet devcluster mesh up --user alice@example.com --policy policy.json",
        "guildnet devcluster mesh up --loopback -o json",
    )
)
def up(
    user: Annotated[
        str, typer.Option(metavar="LOGIN", help="The user that this machine's client joins as.")
    ] = "developer@",
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A policy to put in force, as `guildnet mesh policy` prints it.",
        ),
    ] = None,
    loopback: Annotated[
        bool,
        typer.Option("--loopback", help="Listen on loopback only: no pod reaches it; no root."),
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Start Headscale and a client, and print their addresses.

    Pods of devclusters and this machine reach Headscale, and no other machine does. Without a
    policy, every peer reaches every other. The first start compiles both programs into the user's
    cache.
    """
    from guildnet_devcluster import mesh
    from guildnet_devcluster.progress import progress_to

    text = policy.read_text() if policy else None
    progress = progress_to()
    found = mesh.up(mesh.folder(), progress=progress, reachable_by_pods=not loopback)
    client = mesh.ensure_client(found, _CLIENT, user, progress)
    if text is not None:
        found.admin().set_policy(text)
    data = {
        "loginServer": found.login_server,
        "caCertificate": str(found.ca),
        "apiKeyFile": str(found.api_key),
        "proxy": client.proxy,
        "address": client.address(),
    }
    emit(data, output, lambda: _as_text(data))


@mesh_app.command(epilog=examples("guildnet devcluster mesh down"))
def down() -> None:
    """Stop Headscale and its clients and delete their data."""
    from guildnet_devcluster import mesh

    mesh.down(mesh.folder())
    say("the mesh is down")


def _as_text(data: dict[str, Any]) -> str:
    return table(
        ("WHAT", "WHERE"),
        [
            ("login server", data["loginServer"]),
            ("its CA certificate", data["caCertificate"]),
            ("file with an API key", data["apiKeyFile"]),
            ("SOCKS5 and HTTP proxy to the mesh", data["proxy"]),
            ("this machine on the mesh", data["address"]),
        ],
    )
