"""`guildnet demo`: a scenario on real clusters, from a commit to a pull request, with times."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from guildnet_cli.output import examples

KeepFlag = Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")]
DownFlag = Annotated[
    bool, typer.Option("--down", help="Stop and remove a demo started with --keep.")
]
KubeconfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kubeconfig",
        metavar="ORG=FILE",
        help="Use your own cluster; once for acme and once for globex, which may share one.",
    ),
]
OperatorImage = Annotated[
    str | None,
    typer.Option(
        metavar="IMAGE", help="The operator image; your clusters must be able to pull it."
    ),
]
WorkImage = Annotated[
    str | None,
    typer.Option(metavar="IMAGE", help="The agents' image; your clusters must be able to pull it."),
]
MeshFlag = Annotated[
    bool,
    typer.Option("--mesh", help="Open the editor over a mesh, with a Headscale of the demo's own."),
]
HostAddress = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Address at which pods reach this machine.")
]


def demo_command(
    *,
    keep: KeepFlag = False,
    down: DownFlag = False,
    kubeconfig: KubeconfigOption = None,
    image: OperatorImage = None,
    work_image: WorkImage = None,
    host_address: HostAddress = None,
    mesh: MeshFlag = False,
) -> None:
    """Commit tasks, watch agents work, and see the results in git.

    Runs two orgs with a real cluster each, a real forge and real agents, and cleans up.
    Without --kubeconfig it creates two devclusters, which requires Linux and root.

    On your own clusters it uses the namespaces guildnet-demo-acme and guildnet-demo-globex and
    removes what it installed; an AgentTask CRD that existed before is kept.
    """
    from guildnet.state_folder import state_folder
    from guildnet_demo.existing_clusters import ExistingClusterSite
    from guildnet_demo.runner import DemoPaths, end_previous, run_demo
    from guildnet_demo.sites import DevClusterSite, SiteDetails

    paths = DemoPaths(state_folder() / "demo")
    # Keep the demo's clusters and services apart from the user's own.
    os.environ["GUILDNET_STATE_DIR"] = str(paths.folder / "state")
    if down:
        raise typer.Exit(end_previous(paths))
    given = {"--image": image, "--work-image": work_image, "--host-address": host_address}
    own = _kubeconfigs(kubeconfig or [])
    _check(own, given)
    if own and mesh:
        raise typer.BadParameter("--mesh requires the demo's own clusters, without --kubeconfig")
    if not own:
        raise typer.Exit(run_demo(paths, DevClusterSite(mesh=mesh), keep=keep))
    details = SiteDetails(own, str(image), str(work_image), str(host_address))
    raise typer.Exit(
        run_demo(paths, ExistingClusterSite(details, paths.existing_clusters), keep=keep)
    )


demo_app = typer.Typer(add_completion=False, rich_markup_mode=None)
demo_app.command(
    "demo",
    epilog=examples(
        "guildnet demo",
        "guildnet demo --keep",
        "guildnet demo --mesh",
        "guildnet demo --kubeconfig acme=a.config --kubeconfig globex=b.config \\",
        "    --image registry.example/guildnet-operator:1 \\",
        "    --work-image registry.example/guildnet-work:1 --host-address 192.0.2.10",
    ),
)(demo_command)


def _kubeconfigs(pairs: Sequence[str]) -> dict[str, Path]:
    from guildnet_demo.sites import ORGS

    found = {}
    for pair in pairs:
        org, _, file = pair.partition("=")
        if org not in ORGS or not file:
            raise typer.BadParameter(f"{pair!r} is not {' or '.join(f'{o}=FILE' for o in ORGS)}")
        if not Path(file).is_file():
            raise typer.BadParameter(f"file not found: {file}")
        found[org] = Path(file).resolve()
    if found and set(found) != set(ORGS):
        raise typer.BadParameter(f"give --kubeconfig for each of {', '.join(ORGS)}")
    return found


def _check(own: Mapping[str, Path], given: Mapping[str, str | None]) -> None:
    """--kubeconfig requires the options that describe the user's clusters, and only then."""
    if own and (missing := [name for name, value in given.items() if not value]):
        raise typer.BadParameter(f"--kubeconfig also requires {', '.join(missing)}")
    if not own and (idle := [name for name, value in given.items() if value]):
        raise typer.BadParameter(f"{', '.join(idle)} requires --kubeconfig")
