"""One demo from start to end: clean up an earlier one, run the scenario, clean up."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from guildnet.errors import GuildNetError
from guildnet_cli.output import describe
from guildnet_demo import diagnostics, instance
from guildnet_demo.environment import DemoEnvironment, end
from guildnet_demo.existing_clusters import leave
from guildnet_demo.report import show
from guildnet_demo.scenario import Scenario
from guildnet_demo.sites import DevClusterSite, Site
from guildnet_demo.steps import run_steps
from guildnet_devcluster.progress import Progress, progress_to


@dataclass(frozen=True, slots=True)
class DemoPaths:
    """Where the demo keeps its files on this machine."""

    folder: Path

    @property
    def existing_clusters(self) -> Path:
        """What the user's own clusters held before the demo."""
        return self.folder / "existing-clusters.json"

    @property
    def diagnostics(self) -> Path:
        """Diagnostics of a failed demo; kept when `folder` is deleted."""
        return self.folder.with_name(f"{self.folder.name}-failed")


def end_previous(paths: DemoPaths) -> int:
    """Stop and remove what an earlier demo left running; return the exit code."""
    with instance.exclusive(paths.folder):
        _end_previous(paths, progress_to())
    return 0


def run_demo(paths: DemoPaths, site: Site, *, keep: bool) -> int:
    """Run the scenario at `site` and return the exit code. `keep` leaves everything running.

    Raises ConfigurationError while another demo runs or is kept running.
    """
    # Clean up on SIGTERM as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = progress_to()
    with instance.exclusive(paths.folder):
        instance.refuse_while_kept(paths.folder)
        _end_previous(paths, progress)
        environment = DemoEnvironment(paths.folder, site, progress)
        try:
            return _run_demo(paths, environment, progress)
        except GuildNetError as error:
            # Print it now: cleaning up may fail as well.
            progress.line(describe(error))
            _keep_evidence(paths, environment, progress)
            return 1
        except KeyboardInterrupt:
            progress.line("interrupted")
            raise
        finally:
            if keep:
                _leave_running(paths, environment)
            else:
                _clean_up(environment, progress)


def _run_demo(paths: DemoPaths, environment: DemoEnvironment, progress: Progress) -> int:
    environment.up()
    scenario = Scenario(environment)
    succeeded = asyncio.run(_run(scenario, progress))
    console = Console()
    # Not a terminal: use lines of a usual log's width.
    show(scenario.legs, console if console.is_terminal else Console(width=120))
    if not succeeded:
        _keep_evidence(paths, environment, progress)
    return 0 if succeeded else 1


async def _run(scenario: Scenario, progress: Progress) -> bool:
    try:
        return await run_steps(scenario.steps, scenario.legs, progress)
    finally:
        await scenario.environment.close()


def _keep_evidence(paths: DemoPaths, environment: DemoEnvironment, progress: Progress) -> None:
    if not environment.is_site_up:
        return  # nothing was started yet
    diagnostics.save(environment, paths.diagnostics)
    progress.line(
        f"Logs and cluster objects are saved in {paths.diagnostics}.\n"
        "Run again with --keep to inspect everything while it runs."
    )


def _end_previous(paths: DemoPaths, progress: Progress) -> None:
    with progress.step("cleaning up after an earlier run"):
        end(paths.folder, [partial(leave, paths.existing_clusters), DevClusterSite().down])


def _leave_running(paths: DemoPaths, environment: DemoEnvironment) -> None:
    addresses = environment.addresses
    instance.note_kept(paths.folder, addresses)
    for name, address in addresses.items():
        print(f"{name}: {address}")
    print(f"The demo keeps running. Stop it with: {_program()} demo --down")


def _clean_up(environment: DemoEnvironment, progress: Progress) -> None:
    try:
        with progress.step("cleaning up"):
            environment.down()
    except BaseException:
        progress.line(f"clean-up is incomplete; finish it with: {_program()} demo --down")
        raise


def _program() -> str:
    """How to call the command again: the path it was called by, or its name."""
    return sys.argv[0] if Path(sys.argv[0]).name == "guildnet" else "guildnet"
