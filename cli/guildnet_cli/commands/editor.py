"""`guildnet editor`: a local port to the editor in an agent's pod."""

from __future__ import annotations

from typing import Annotated

import typer

from guildnet_cli.options import ClusterOptions, TaskArgument, options, split_task
from guildnet_cli.output import Format, FormatOption, emit, examples


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples("guildnet editor acme/fix-login", "guildnet editor acme/fix-login --open")
    )(editor)


@options(cluster=ClusterOptions)
def editor(
    task: TaskArgument,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The local port. Default: a free one.")
    ] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    output: FormatOption = Format.TEXT,
    cluster: ClusterOptions,
) -> None:
    """Forward a local port to a task's editor.

    Prints the address and password of code-server in the agent's pod. Runs until interrupted.
    """
    import asyncio
    import signal
    import sys

    from guildnet_cli.cluster import port_forward

    org, name = split_task(task)
    found = cluster.of(org)
    target = asyncio.run(port_forward.editor_of(found, name))
    # Without this a terminated command would leave its kubectl behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with port_forward.Forward(found, target, port) as forward:
        address = port_forward.EditorAddress(
            address=f"http://{name}.{org}.localhost:{forward.port}", password=target.password
        )
        if output is Format.JSON:
            typer.echo(address.to_line())
        else:
            emit(address.to_json(), output, address.to_text)
        if open_browser:
            typer.launch(address.address)
        forward.serve()
