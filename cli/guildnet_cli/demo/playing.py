"""A whole demo: what an earlier one left is ended, the story told, and all of it taken away."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from guildnet.errors import GuildNetError
from guildnet_cli.demo import evidence, keeping
from guildnet_cli.demo.grounds import DevClusters, Place
from guildnet_cli.demo.own_clusters import leave
from guildnet_cli.demo.report import show
from guildnet_cli.demo.story import Story
from guildnet_cli.demo.surroundings import Surroundings, end
from guildnet_cli.demo.telling import tell
from guildnet_cli.output import describe
from guildnet_devcluster.progress import Progress, progress_to


@dataclass(frozen=True, slots=True)
class Stage:
    """Where on this machine the demo lives."""

    folder: Path

    @property
    def record(self) -> Path:
        """What was found in clusters of one's own."""
        return self.folder / "own-clusters.json"

    @property
    def evidence(self) -> Path:
        """What is kept of one that failed; it outlives the folder."""
        return self.folder.with_name(f"{self.folder.name}-failed")


def end_earlier(stage: Stage) -> int:
    """End what an earlier demo left running, wherever it took place; the exit code."""
    with keeping.alone(stage.folder):
        _end_earlier(stage, progress_to())
    return 0


def play(stage: Stage, place: Place, *, keep: bool) -> int:
    """Tell the story at `place`; the exit code. With `keep` everything goes on running.

    Raises ConfigurationError while another demo is told or kept.
    """
    # Ended by whatever signal, it cleans up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = progress_to()
    with keeping.alone(stage.folder):
        keeping.refuse_while_kept(stage.folder)
        _end_earlier(stage, progress)
        surroundings = Surroundings(stage.folder, place, progress)
        try:
            return _play(stage, surroundings, progress)
        except GuildNetError as error:
            # Told now: cleaning up may fail as well.
            progress.line(describe(error))
            _keep_evidence(stage, surroundings, progress)
            return 1
        except KeyboardInterrupt:
            progress.line("interrupted")
            raise
        finally:
            if keep:
                _leave_running(stage, surroundings)
            else:
                _clean_up(surroundings, progress)


def _play(stage: Stage, surroundings: Surroundings, progress: Progress) -> int:
    surroundings.up()
    story = Story(surroundings)
    went_well = asyncio.run(_told(story, progress))
    console = Console()
    # Nobody's terminal: lines as long as logs have them.
    show(story.legs, console if console.is_terminal else Console(width=120))
    if not went_well:
        _keep_evidence(stage, surroundings, progress)
    return 0 if went_well else 1


async def _told(story: Story, progress: Progress) -> bool:
    try:
        return await tell(story.chapters, story.legs, progress)
    finally:
        await story.surroundings.close()


def _keep_evidence(stage: Stage, surroundings: Surroundings, progress: Progress) -> None:
    if not surroundings.has_ground:
        return  # nothing was begun that could say more

    evidence.save(surroundings, stage.evidence)
    progress.line(
        f"Logs, and what the clusters said, are kept in {stage.evidence}. With --keep it all\n"
        "stays up to be looked at."
    )


def _end_earlier(stage: Stage, progress: Progress) -> None:
    with progress.step("ending what an earlier run left"):
        end(stage.folder, [partial(leave, stage.record), DevClusters().down])


def _leave_running(stage: Stage, surroundings: Surroundings) -> None:
    addresses = surroundings.addresses
    keeping.note_kept(stage.folder, addresses)
    for name, address in addresses.items():
        print(f"{name}: {address}")
    print(f"It goes on running. End it with: {_program()} demo --down")


def _clean_up(surroundings: Surroundings, progress: Progress) -> None:
    try:
        with progress.step("cleaning up"):
            surroundings.down()
    except BaseException:
        progress.line(f"not all is cleaned up; do so with: {_program()} demo --down")
        raise


def _program() -> str:
    """How this command was called, where that is worth saying again."""
    return sys.argv[0] if Path(sys.argv[0]).name == "guildnet" else "guildnet"
