"""`guildnet demo`: the whole way on real clusters, told as a story with times."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

KeepFlag = Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")]
DownFlag = Annotated[bool, typer.Option("--down", help="End what an earlier --keep left running.")]
KubeconfigOption = Annotated[
    list[str] | None,
    typer.Option("--kubeconfig", metavar="ORG=FILE", help="Own clusters, for acme and globex."),
]
OperatorImage = Annotated[str | None, typer.Option(help="With own clusters: the operator image.")]
WorkImage = Annotated[str | None, typer.Option(help="With own clusters: the work image.")]
HostAddress = Annotated[
    str | None, typer.Option(help="With own clusters: where their pods reach this machine.")
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

    Example: guildnet demo --keep
    """
    from guildnet_cli.demo.surroundings import Settings, default_folder

    folder = default_folder()
    # Clusters and services of the demo keep apart from those of daily work.
    os.environ["GUILDNET_STATE_DIR"] = str(folder / "state")
    own = _kubeconfigs(kubeconfig or [])
    if own and host_address is None:
        raise typer.BadParameter("own clusters need it", param_hint="--host-address")
    settings = Settings(
        folder=folder,
        kubeconfigs=own,
        image=image,
        work_image=work_image,
        host_address=host_address,
    )
    raise typer.Exit(_run(settings, keep=keep, only_down=down))


def _kubeconfigs(pairs: Sequence[str]) -> dict[str, Path]:
    from guildnet_cli.demo.surroundings import ORGS

    found = {org: Path(file).resolve() for org, _, file in (p.partition("=") for p in pairs)}
    if found and set(found) != set(ORGS):
        raise typer.BadParameter(f"give one for each of {', '.join(ORGS)}", param_hint="kubeconfig")
    return found


def _run(settings: object, *, keep: bool, only_down: bool) -> int:
    from rich.console import Console

    from guildnet_cli.demo.report import show
    from guildnet_cli.demo.story import Story
    from guildnet_cli.demo.surroundings import Settings, Surroundings
    from guildnet_devcluster.progress import progress_to

    assert isinstance(settings, Settings)
    progress = progress_to()
    console = Console()
    surroundings = Surroundings(settings, progress)
    with progress.step("ending what an earlier run left"):
        surroundings.down()
    if only_down:
        return 0

    async def told() -> tuple[Story, bool]:
        story = Story(surroundings)
        try:
            return story, await story.tell(progress.line)
        finally:
            await surroundings.close()

    try:
        surroundings.up()
        story, went_well = asyncio.run(told())
        show(story.legs, console)
        if keep:
            for name, address in surroundings.addresses.items():
                console.print(f"{name}: {address}", soft_wrap=True)
            console.print("It goes on running. End it with: guildnet demo --down")
        return 0 if went_well else 1
    finally:
        if not keep:
            with progress.step("cleaning up"):
                surroundings.down()
