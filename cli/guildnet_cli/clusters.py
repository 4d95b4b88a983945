"""Verbs that look into an org's cluster: logs, editor, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guildnet_cli.git_credentials import (
    GitCredentialsOption,
    GitTokenOption,
    GitUsernameOption,
    credentials,
)
from guildnet_cli.looking import RepoOption, StatusBranchOption
from guildnet_cli.output import Format, FormatOption, emit, examples, say, say_once
from guildnet_cli.tasks import TaskArgument, split

KubeconfigOption = Annotated[Path | None, typer.Option(help="Instead of the stored kubeconfig.")]
ContextOption = Annotated[str | None, typer.Option(help="The context in it.")]
NamespaceOption = Annotated[str | None, typer.Option(help="Instead of the org's.")]


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples("guildnet logs acme/fix-login -f", "guildnet logs acme/fix-login --tail 50")
    )(logs)
    app.command(
        epilog=examples("guildnet editor acme/fix-login", "guildnet editor acme/fix-login --open")
    )(editor)
    app.command(epilog=examples("guildnet doctor acme", "guildnet doctor -o json"))(doctor)


def logs(
    task: TaskArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="LINES", help="Only the last lines.")
    ] = None,
    supervisor: Annotated[
        bool, typer.Option("--supervisor", help="The supervisor's log in place of the agent's.")
    ] = False,
    repo: RepoOption = None,
    status_branch: StatusBranchOption = "status",
    git_credentials: GitCredentialsOption = None,
    git_token_file: GitTokenOption = None,
    git_username: GitUsernameOption = "git",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Print the agent's log, or its recorded end.

    With --follow a run that has not begun is waited for."""
    import asyncio
    import time

    from guildnet.errors import ConfigurationError, KubeUnavailable
    from guildnet_cli import agent_logs
    from guildnet_cli.org_cluster import org_cluster
    from guildnet_cli.state_repository import NotRecorded

    org, name = split(task)
    container = "supervisor" if supervisor else "work"
    given = credentials(git_credentials, git_token_file, git_username)
    tell = say_once()
    while True:
        is_silent = False
        try:
            cluster = org_cluster(
                org, repo=repo, kubeconfig=kubeconfig, context=context, namespace=namespace
            )
            if asyncio.run(
                agent_logs.print_log(
                    cluster, name, tell, container=container, tail=tail, follow=follow
                )
            ):
                return
        except (ConfigurationError, KubeUnavailable) as error:
            is_silent = True
            say(f"The cluster cannot be asked: {error}")
        try:
            if agent_logs.print_recorded(org, name, repo, status_branch, given):
                return
        except NotRecorded:
            if not follow:
                raise
        if is_silent or not follow:
            raise ConfigurationError(
                "no log can be had: there is no pod, and none is recorded",
                place=task,
                cure=f"See how it stands with `guildnet status {task}`.",
            )
        time.sleep(2)


def editor(
    task: TaskArgument,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The local port; a free one by default.")
    ] = 0,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    output: FormatOption = Format.TEXT,
    repo: RepoOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Forward a port to the task's editor; print its password.

    The editor is code-server in the agent's pod. Runs until it is ended."""
    import asyncio
    import signal
    import sys

    from guildnet_cli import port_forward
    from guildnet_cli.org_cluster import org_cluster

    org, name = split(task)
    cluster = org_cluster(
        org, repo=repo, kubeconfig=kubeconfig, context=context, namespace=namespace
    )
    target = asyncio.run(port_forward.editor_of(cluster, name))
    # A terminated command must not leave its kubectl behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with port_forward.Forward(cluster, target, port) as forward:
        place = port_forward.EditorPlace(
            address=f"http://{name}.{org}.localhost:{forward.port}", password=target.password
        )
        if output is Format.JSON:
            typer.echo(place.to_line())
        else:
            emit(place.to_json(), output, place.to_text)
        if open_browser:
            typer.launch(place.address)
        forward.serve()


def doctor(
    org: Annotated[
        str | None, typer.Argument(metavar="ORG", help="One org; every stored one by default.")
    ] = None,
    *,
    repo: RepoOption = None,
    output: FormatOption = Format.TEXT,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Check what an org's cluster needs, with a cure for each fault."""
    import asyncio

    from guildnet.state_folder import stored_kubeconfigs
    from guildnet_cli import examination
    from guildnet_cli.org_cluster import org_cluster

    names = [org] if org else stored_kubeconfigs()
    clusters = [
        org_cluster(n, repo=repo, kubeconfig=kubeconfig, context=context, namespace=namespace)
        for n in names
    ]
    findings = asyncio.run(examination.examine_all(clusters))
    emit(examination.to_json(findings), output, lambda: examination.to_text(findings))
    failed = any(not finding.good for found in findings.values() for finding in found)
    raise typer.Exit(1 if failed or not names else 0)
