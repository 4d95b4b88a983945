"""`guildnet devcluster`: a throwaway real Kubernetes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from guildnet.errors import ConfigurationError

if TYPE_CHECKING:
    from guildnet_devcluster.cluster import ClusterStatus

devcluster_app = typer.Typer(
    name="devcluster",
    help="A throwaway real Kubernetes on this machine.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The cluster's name, also its node's.")]


class Output(StrEnum):
    """How data is printed."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


@devcluster_app.command(
    epilog="Example: KUBECONFIG=$(guildnet devcluster up acme) kubectl get nodes"
)
def up(
    name: Name,
    no_node: Annotated[
        bool, typer.Option("--no-node", help="The control plane alone: seconds, and no root.")
    ] = False,
) -> None:
    """Bring a cluster up; the last line on standard output is its kubeconfig's path.

    Its programs are compiled once, into the user's cache.
    """
    from guildnet_devcluster import cluster
    from guildnet_devcluster.progress import progress_to

    brought_up = cluster.up(name, node=not no_node, progress=progress_to())
    print(brought_up.kubeconfig)


@devcluster_app.command(epilog="Example: guildnet devcluster down acme")
def down(name: Name) -> None:
    """End a cluster and delete all its data."""
    from guildnet_devcluster import cluster

    cluster.down(name)
    print(f"{name} is down", file=sys.stderr)


@devcluster_app.command(epilog="Example: guildnet devcluster status -o json")
def status(
    output: Annotated[Output, typer.Option("-o", "--output", help="The format.")] = Output.TEXT,
) -> None:
    """What runs. Exits with 1 when a cluster is not whole."""
    from guildnet_devcluster import cluster

    found = cluster.status()
    if output is Output.TEXT:
        _print_table(found)
    else:
        whole = [{**asdict(each), "kubeconfig": str(each.kubeconfig)} for each in found]
        _print_data(whole, output)
    if not all(each.is_whole for each in found):
        raise typer.Exit(1)


@devcluster_app.command(
    epilog="Example: docker save my-image:1 -o my.tar && guildnet devcluster load-image acme my.tar"
)
def load_image(
    name: Name,
    archive: Annotated[Path, typer.Argument(help="A docker-archive, as `docker save` writes it.")],
) -> None:
    """Give a cluster's node an image."""
    from guildnet_devcluster import cluster
    from guildnet_devcluster.progress import progress_to

    cluster.load_image(name, archive, progress_to())


@devcluster_app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: guildnet devcluster kubectl acme get pods -A",
)
def kubectl(context: typer.Context, name: Name) -> None:
    """Run kubectl on a cluster."""
    from guildnet_devcluster import cluster

    environment = {**os.environ, "KUBECONFIG": str(cluster.get(name).kubeconfig)}
    done = subprocess.run([_kubectl(), *context.args], env=environment, check=False)
    raise typer.Exit(done.returncode)


def _kubectl() -> str:
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise ConfigurationError(
            "no kubectl", place="PATH", cure="install guildnet with its extra `devcluster`"
        )
    return found


def _print_table(found: list[ClusterStatus]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("CLUSTER", "API", "NODE", "NOT RUNNING", "KUBECONFIG", box=None, pad_edge=False)
    for each in found:
        dead = ", ".join(name for name, alive in each.processes.items() if not alive)
        node = _readiness(each.is_node_ready) if each.has_node else "none"
        path = str(each.kubeconfig)
        table.add_row(each.name, _readiness(each.is_ready), node, dead or "-", path)
    console = Console()
    # A path cut short, or broken over lines, cannot be copied.
    console.print(table, soft_wrap=True) if found else print("no clusters", file=sys.stderr)


def _readiness(ready: bool) -> str:
    return "ready" if ready else "not ready"


def _print_data(whole: object, output: Output) -> None:
    if output is Output.JSON:
        print(json.dumps(whole, indent=2))
        return
    import yaml

    print(yaml.safe_dump(whole, sort_keys=False), end="")
