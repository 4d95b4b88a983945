"""`guildnet devcluster up --talos` and `serve`: Talos machines on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.output import say

if TYPE_CHECKING:
    from guildnet_devcluster.talos.site import Site


def start_talos(name: str, *, workers: int, maintenance: bool) -> None:
    """Start the machines, and a cluster made of them unless they are to stay as they are."""
    from guildnet_devcluster.progress import progress_to
    from guildnet_devcluster.talos import kubernetes, site

    progress = progress_to()
    if maintenance:
        _describe(site.up(name, workers=workers, progress=progress))
        return
    kubeconfig = kubernetes.up(name, workers=workers, progress=progress)
    started = site.get(name, progress)
    say(f"pods of {name} reach this machine at {started.host_address}")
    say(f"its talosctl: {started.talosctl} --talosconfig {kubernetes.talosconfig(started)}")
    typer.echo(kubeconfig)


def serve(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the Talos machines.")],
    kubeconfig: Annotated[Path, typer.Argument(help="The kubeconfig of their administrator.")],
) -> None:
    """Serve volumes and network policies to a Talos cluster."""
    from guildnet_devcluster.progress import progress_to
    from guildnet_devcluster.talos import site

    site.get(name, progress_to()).serve(kubeconfig)
    say(f"{name} has the default StorageClass devcluster, and enforces NetworkPolicies")


def _describe(started: Site) -> None:
    """Print the section `talos` of an org, and what to do with it."""
    files = (started.patches.all, started.patches.control_plane)
    say(f"The machines wait for a configuration. Copy {files[0]} and {files[1]}")
    say("to orgs/ORG/talos in your state repository, and this section to the org's file:")
    control, *rest = (machine.address for machine in started.machines)
    lines = [
        "talos:",
        f"  endpoint: https://{control}:6443",
        f"  version: v{started.talos_version}",
        f"  kubernetesVersion: v{started.kubernetes_version}",
        f"  controlPlanes: [{control}]",
        f"  workers: [{', '.join(rest)}]",
        "  patches:",
        f"    - {{path: orgs/ORG/talos/{files[0].name}}}",
        f"    - {{path: orgs/ORG/talos/{files[1].name}, target: controlplane}}",
    ]
    typer.echo("\n".join(lines))
    say(f"`guildnet talos` needs this talosctl on PATH: {started.talosctl}")
    say("Once Kubernetes runs, give it volumes and network policies:")
    say(f"guildnet devcluster serve {started.layout.name} KUBECONFIG")
