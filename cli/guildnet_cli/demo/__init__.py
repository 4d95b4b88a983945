"""`guildnet demo`: the whole way on real clusters, told as a story with times."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from guildnet_cli.output import examples

KeepFlag = Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")]
DownFlag = Annotated[bool, typer.Option("--down", help="End what an earlier --keep left running.")]
KubeconfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kubeconfig",
        metavar="ORG=FILE",
        help="A cluster of yours; once for acme and once for globex, which may share one.",
    ),
]
OperatorImage = Annotated[
    str | None, typer.Option(metavar="IMAGE", help="The operator's image, which they can pull.")
]
WorkImage = Annotated[
    str | None, typer.Option(metavar="IMAGE", help="The agents' image, which they can pull.")
]
HostAddress = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Where their pods reach this machine.")
]


def demo_command(
    *,
    keep: KeepFlag = False,
    down: DownFlag = False,
    kubeconfig: KubeconfigOption = None,
    image: OperatorImage = None,
    work_image: WorkImage = None,
    host_address: HostAddress = None,
) -> None:
    """Commit tasks, watch agents work, and see the results in git.

    Two orgs with a real cluster each, a real forge, real agents. Cleans up after itself.
    Without --kubeconfig it brings up two devclusters, which takes Linux and root.

    On clusters of yours it works in the namespaces guildnet-demo-acme and guildnet-demo-globex,
    and takes away what it brought; a definition of AgentTasks that was there stays.
    """
    from guildnet_cli.demo.grounds import DevClusters, Ground
    from guildnet_cli.demo.own_clusters import OwnClusters
    from guildnet_cli.demo.playing import Stage, end_earlier, play
    from guildnet_devcluster.layout import state_folder

    stage = Stage(state_folder() / "demo")
    # Clusters and services of the demo keep apart from those of daily work.
    os.environ["GUILDNET_STATE_DIR"] = str(stage.folder / "state")
    if down:
        raise typer.Exit(end_earlier(stage))
    given = {"--image": image, "--work-image": work_image, "--host-address": host_address}
    own = _kubeconfigs(kubeconfig or [])
    _check(own, given)
    if not own:
        raise typer.Exit(play(stage, DevClusters(), keep=keep))
    ground = Ground(own, str(image), str(work_image), str(host_address))
    raise typer.Exit(play(stage, OwnClusters(ground, stage.record), keep=keep))


demo_app = typer.Typer(add_completion=False, rich_markup_mode=None)
demo_app.command(
    "demo",
    epilog=examples(
        "guildnet demo",
        "guildnet demo --keep",
        "guildnet demo --kubeconfig acme=a.config --kubeconfig globex=b.config \\",
        "    --image registry.example/guildnet-operator:1 \\",
        "    --work-image registry.example/guildnet-work:1 --host-address 192.0.2.10",
    ),
)(demo_command)


def _kubeconfigs(pairs: Sequence[str]) -> dict[str, Path]:
    from guildnet_cli.demo.grounds import ORGS

    found = {}
    for pair in pairs:
        org, _, file = pair.partition("=")
        if org not in ORGS or not file:
            raise typer.BadParameter(f"{pair!r} is not {' or '.join(f'{o}=FILE' for o in ORGS)}")
        if not Path(file).is_file():
            raise typer.BadParameter(f"there is no file {file}")
        found[org] = Path(file).resolve()
    if found and set(found) != set(ORGS):
        raise typer.BadParameter(f"give --kubeconfig for each of {', '.join(ORGS)}")
    return found


def _check(own: Mapping[str, Path], given: Mapping[str, str | None]) -> None:
    """What clusters of one's own need goes with them, and with them alone."""
    if own and (missing := [name for name, value in given.items() if not value]):
        raise typer.BadParameter(f"--kubeconfig needs {', '.join(missing)} as well")
    if not own and (idle := [name for name, value in given.items() if value]):
        raise typer.BadParameter(f"{', '.join(idle)} goes with --kubeconfig")
