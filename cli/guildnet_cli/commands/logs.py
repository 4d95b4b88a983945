"""`guildnet logs`: an agent's log, from its pod or from the status branch."""

from __future__ import annotations

from typing import Annotated

import typer

from guildnet_cli.options import (
    ClusterOptions,
    GitOptions,
    StatusBranchOption,
    TaskArgument,
    options,
    split_task,
)
from guildnet_cli.output import examples, say, say_changes


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples("guildnet logs acme/fix-login -f", "guildnet logs acme/fix-login --tail 50")
    )(logs)


@options(cluster=ClusterOptions, git=GitOptions)
def logs(
    task: TaskArgument,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stream the log until the run finishes.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="LINES", help="Print only the last lines.")
    ] = None,
    supervisor: Annotated[
        bool, typer.Option("--supervisor", help="Print the supervisor's log, not the agent's.")
    ] = False,
    status_branch: StatusBranchOption = "status",
    git: GitOptions,
    cluster: ClusterOptions,
) -> None:
    """Print the log of a task's agent.

    Without a pod, prints the end of the log from the status branch. With --follow, waits for a run
    that has not started.
    """
    import asyncio
    import time

    from guildnet.errors import ConfigurationError, KubeUnavailable
    from guildnet_cli.cluster import agent_logs
    from guildnet_cli.repository.status_branch import NotRecorded, StatusBranch

    org, name = split_task(task)
    container = "supervisor" if supervisor else "work"
    credentials = git.credentials(cluster.repo)
    report = say_changes()
    while True:
        is_unreachable = False
        try:
            printing = agent_logs.print_log(
                cluster.of(org), name, report, container=container, tail=tail, follow=follow
            )
            if asyncio.run(printing):
                return
        except (ConfigurationError, KubeUnavailable) as error:
            is_unreachable = True
            say(f"cannot read from the cluster: {error}")
        try:
            branch = StatusBranch(cluster.repo, status_branch, credentials)
            recorded = branch.artifact(org, name, agent_logs.RECORDED_LOG)
            if recorded is not None:
                say("end of the log, from the status branch:")
                typer.echo(recorded.decode(errors="replace"), nl=False)
                return
        except NotRecorded:
            if not follow:
                raise
        if is_unreachable or not follow:
            raise ConfigurationError(
                "no log: the task has no pod, and the status branch has no log of it",
                place=task,
                cure=f"See its status with `guildnet status {task}`.",
            )
        time.sleep(2)
