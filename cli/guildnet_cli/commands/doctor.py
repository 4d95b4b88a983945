"""`guildnet doctor`: check what an org's cluster needs."""

from __future__ import annotations

from typing import Annotated

import typer

from guildnet_cli.options import ClusterOptions, options
from guildnet_cli.output import Format, FormatOption, emit, examples


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("guildnet doctor acme", "guildnet doctor -o json"))(doctor)


@options(cluster=ClusterOptions)
def doctor(
    org: Annotated[
        str | None,
        typer.Argument(metavar="ORG", help="The org. Default: all with a stored kubeconfig."),
    ] = None,
    *,
    output: FormatOption = Format.TEXT,
    cluster: ClusterOptions,
) -> None:
    """Check an org's cluster and say how to fix each fault.

    Exits with 1 when a check fails.
    """
    import asyncio

    from guildnet.state_folder import stored_kubeconfigs
    from guildnet_cli.cluster import checks

    names = [org] if org else stored_kubeconfigs()
    results = asyncio.run(checks.check_all([cluster.of(name) for name in names]))
    emit(checks.to_json(results), output, lambda: checks.to_text(results))
    failed = any(not result.good for found in results.values() for result in found)
    raise typer.Exit(1 if failed or not names else 0)
