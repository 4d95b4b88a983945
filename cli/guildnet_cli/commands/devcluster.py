"""`guildnet devcluster`: disposable Kubernetes clusters on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.cluster.kubectl import kubectl_path
from guildnet_cli.commands.devcluster_mesh import mesh_app
from guildnet_cli.commands.devcluster_talos import serve, start_talos
from guildnet_cli.output import Format, FormatOption, emit, examples, say, table

if TYPE_CHECKING:
    from guildnet_devcluster.cluster import ClusterStatus

devcluster_app = typer.Typer(
    name="devcluster",
    help="Run a disposable Kubernetes cluster on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

devcluster_app.add_typer(mesh_app)
devcluster_app.command(epilog=examples("guildnet devcluster serve metal ./kubeconfig"))(serve)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the cluster and its node.")]


@devcluster_app.command(
    epilog=examples(
        "guildnet devcluster up acme",
        "KUBECONFIG=$(guildnet devcluster up lab --no-node) kubectl get namespaces",
        "guildnet devcluster up metal --talos --workers 1",
        "guildnet devcluster up metal --talos --maintenance > talos.yaml",
    )
)
def up(
    name: Name,
    no_node: Annotated[
        bool, typer.Option("--no-node", help="Start only the control plane; needs no root.")
    ] = False,
    talos: Annotated[
        bool, typer.Option("--talos", help="Start Talos machines, and a cluster made of them.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option("--workers", min=0, max=7, help="Talos machines beside the control plane."),
    ] = 0,
    maintenance: Annotated[
        bool,
        typer.Option(
            "--maintenance",
            help="Leave new Talos machines unconfigured, and print an org's section `talos`.",
        ),
    ] = False,
) -> None:
    """Start a cluster and print the path of its kubeconfig.

    The first start compiles Kubernetes, and with --talos also Talos, into the user's cache.
    """
    from guildnet_devcluster import cluster
    from guildnet_devcluster.progress import progress_to

    if no_node and talos:
        raise typer.BadParameter("--talos machines are nodes: leave out --no-node")
    if (workers or maintenance) and not talos:
        raise typer.BadParameter("--workers and --maintenance are for --talos")
    if talos:
        start_talos(name, workers=workers, maintenance=maintenance)
        return
    started = cluster.up(name, node=not no_node, progress=progress_to())
    if started.has_node:
        say(f"pods of {name} reach this machine at {started.host_address}")
    typer.echo(started.kubeconfig)


@devcluster_app.command(epilog=examples("guildnet devcluster down acme"))
def down(name: Name) -> None:
    """Stop a cluster and delete its data."""
    from guildnet_devcluster import cluster

    cluster.down(name)
    say(f"{name} is down")


@devcluster_app.command(
    epilog=examples("guildnet devcluster status", "guildnet devcluster status -o json")
)
def status(output: FormatOption = Format.TEXT) -> None:
    """List clusters. Exits with 1 when part of a cluster is not running."""
    from guildnet_devcluster import cluster

    found = cluster.status()
    data = [{**asdict(each), "kubeconfig": str(each.kubeconfig)} for each in found]
    emit(data, output, lambda: _as_table(found))
    if not all(each.is_whole for each in found):
        raise typer.Exit(1)


@devcluster_app.command(
    epilog=examples(
        "docker save my-image:1 -o my-image.tar",
        "guildnet devcluster load-image acme my-image.tar",
    )
)
def load_image(
    name: Name,
    archive: Annotated[Path, typer.Argument(help="An archive written by `docker save`.")],
) -> None:
    """Load the images of an archive into a cluster's node."""
    from guildnet_devcluster import cluster
    from guildnet_devcluster.progress import progress_to

    cluster.load_image(name, archive, progress_to())


@devcluster_app.command(
    # Everything after the name is for kubectl, --help included.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("guildnet devcluster kubectl acme get pods -A"),
)
def kubectl(
    name: Name,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT", help="Arguments for kubectl."),
    ] = None,
) -> None:
    """Run kubectl against a cluster."""
    from guildnet_devcluster import cluster

    environment = {**os.environ, "KUBECONFIG": str(cluster.get(name).kubeconfig)}
    done = subprocess.run([kubectl_path(), *(arguments or ())], env=environment, check=False)
    raise typer.Exit(done.returncode)


def _as_table(found: Sequence[ClusterStatus]) -> str:
    if not found:
        say("no clusters")
        return ""
    return table(
        ("CLUSTER", "API", "NODE", "NOT RUNNING", "KUBECONFIG"),
        [
            (
                each.name,
                _readiness(each.is_ready) if each.has_api else "none",
                _readiness(each.is_node_ready) if each.has_node else "none",
                ", ".join(name for name, alive in each.processes.items() if not alive) or "-",
                str(each.kubeconfig),
            )
            for each in found
        ],
    )


def _readiness(ready: bool) -> str:
    return "ready" if ready else "not ready"
