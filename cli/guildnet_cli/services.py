"""The services, each run by its own component: reconciler, operator, agent, dashboard."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from guildnet.names import is_object_name
from guildnet_cli.git_credentials import (
    GitCredentialsOption,
    GitTokenOption,
    GitUsernameOption,
    credentials_folder,
)
from guildnet_cli.output import examples


class AgentPart(StrEnum):
    """The two halves of an agent's pod."""

    SUPERVISOR = "supervisor"
    SHIM = "shim"


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet reconciler --repo https://git.example/acme/state.git \\",
            "    --webhook-secret-file webhook-secret --git-token-file token",
            "guildnet reconciler --repo state --once",
        )
    )(reconciler)
    app.command(
        epilog=examples("guildnet operator --kubeconfig acme.kubeconfig --namespace agents")
    )(operator)
    app.command(epilog=examples("guildnet agent supervisor"))(agent)
    app.command(
        epilog=examples(
            "guildnet dashboard --repo https://git.example/acme/state.git",
            "guildnet dashboard --repo state --listen 127.0.0.1:9000",
        )
    )(dashboard)


RepoOption = Annotated[
    str,
    typer.Option(
        "--repo", metavar="URL-or-DIR", envvar="GUILDNET_REPO", help="The state repository."
    ),
]
BranchOption = Annotated[str, typer.Option(help="The branch people commit to.")]
StatusBranchOption = Annotated[str, typer.Option(help="The branch of the record.")]


def duration(text: str) -> timedelta:
    """`60s` as a timedelta, or a usage error."""
    from guildnet.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def grants(given: list[str]) -> dict[str, frozenset[str]]:
    """Each `KUBECONFIG=ORG:NAMESPACE[,NAMESPACE...]` (or `KUBECONFIG=ORG`, for every namespace) as
    kubeconfig -> `ORG:NAMESPACE` or `ORG`."""
    found: dict[str, frozenset[str]] = {}
    for text in given:
        name, _, to = text.partition("=")
        org, separator, listed = to.partition(":")
        namespaces = listed.split(",") if separator else []
        if not all(map(is_object_name, (name, org, *namespaces))):
            raise typer.BadParameter(f"{text!r} is not KUBECONFIG=ORG:NAMESPACE")
        pairs = {f"{org}:{namespace}" for namespace in namespaces} or {org}
        found[name] = found.get(name, frozenset()) | pairs
    return found


def reconciler(
    *,
    repo: RepoOption,
    branch: BranchOption = "main",
    status_branch: StatusBranchOption = "status",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="For webhooks, health and metrics.")
    ] = "127.0.0.1:8080",
    webhook_secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The secret that forges sign with.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The token that readers elsewhere, and sync, give."),
    ] = None,
    poll: Annotated[str, typer.Option(metavar="TIME", help="How often to ask the remote.")] = "60s",
    once: Annotated[bool, typer.Option("--once", help="Make one pass and end.")] = False,
    org: Annotated[str | None, typer.Option(help="Only this org.")] = None,
    shards: Annotated[int, typer.Option(min=1, help="How many reconcilers share the orgs.")] = 1,
    shard: Annotated[int, typer.Option(min=0, help="Which of them this is, from 0.")] = 0,
    init_status: Annotated[
        bool, typer.Option("--init-status", help="Make the status branch anew where it is lost.")
    ] = False,
    allowed_signers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Apply only what one of them signed.")
    ] = None,
    org_signers: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Per org, a file of who may approve for it by signature."),
    ] = None,
    forge_token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A token that may set commit statuses.")
    ] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KUBECONFIG=ORG:NAMESPACE", help="Let an org use another's; repeatable."
        ),
    ] = None,
    git_credentials: GitCredentialsOption = None,
    git_token_file: GitTokenOption = None,
    git_username: GitUsernameOption = "git",
) -> None:
    """Bring what stands in git into the orgs' clusters, and back."""

    from guildnet.state_folder import state_folder
    from guildnet_reconciler.settings import Settings

    if shard >= shards:
        raise typer.BadParameter("--shard counts from 0 and is below --shards")
    settings = Settings(
        repo=_local_or_url(repo),
        branch=branch,
        status_branch=status_branch,
        state_dir=state_folder(),
        listen=None if once else listen,
        webhook_secret_file=webhook_secret_file,
        token_file=token_file,
        poll=duration(poll),
        once=once,
        org=org,
        shards=shards,
        shard=shard,
        init_status=init_status,
        credentials=credentials_folder(git_credentials, git_token_file, git_username),
        forge_token_file=forge_token_file,
        allowed_signers=allowed_signers,
        org_signers=org_signers,
        granted_kubeconfigs=grants(grant or []),
    )
    from guildnet_reconciler.main import run

    _serve(run(settings))


def operator(
    *,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The pod's own account by default.")
    ] = None,
    context: Annotated[str | None, typer.Option(metavar="NAME", help="The context in it.")] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NS", help="The namespace of the AgentTasks.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(envvar="GUILDNET_OPERATOR_IMAGE", help="The image of supervisors."),
    ] = None,
    work_image: Annotated[
        str | None,
        typer.Option(envvar="GUILDNET_WORK_IMAGE", help="The image where a task names none."),
    ] = None,
) -> None:
    """Work on the AgentTasks of one namespace of a cluster."""
    import os

    from guildnet_operator.settings import Settings, from_environment

    given: dict[str, Any] = from_environment(os.environ)
    chosen = {"operator_image": image, "work_image": work_image}
    given |= {name: value for name, value in chosen.items() if value is not None}
    settings = Settings(kubeconfig=kubeconfig, context=context, namespace=namespace, **given)
    from guildnet_operator.main import run

    _serve(run(settings))


def agent(
    part: Annotated[AgentPart, typer.Argument(help="Which half.")],
) -> None:
    """Run one half of an agent, inside its pod."""
    import importlib

    raise typer.Exit(importlib.import_module(f"guildnet_agent.{part.value}.main").main())


def dashboard(
    *,
    repo: RepoOption,
    branch: BranchOption = "main",
    status_branch: StatusBranchOption = "status",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where it serves.")
    ] = "127.0.0.1:8443",
    poll: Annotated[str, typer.Option(metavar="TIME", help="How often to ask the remote.")] = "5s",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The token that readers give.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A PEM certificate; with --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    dev_tls: Annotated[
        bool, typer.Option("--dev-tls", help="HTTPS with a certificate made here.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Beyond loopback without TLS or token.")
    ] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name it answers to; repeatable."),
    ] = None,
    git_credentials: GitCredentialsOption = None,
    git_token_file: GitTokenOption = None,
    git_username: GitUsernameOption = "git",
) -> None:
    """Serve the pages that show all of it, read from git alone."""

    from guildnet.state_folder import state_folder
    from guildnet_dashboard.settings import Settings

    settings = Settings(
        repository=_local_or_url(repo),
        state_dir=state_folder(),
        branch=branch,
        status_branch=status_branch,
        listen=listen,
        poll=duration(poll),
        credentials_dir=credentials_folder(git_credentials, git_token_file, git_username),
        token_file=token_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        dev_tls=dev_tls,
        insecure=insecure,
        hosts=tuple(host or ()),
    )
    from guildnet_dashboard.main import run

    _log_plainly()
    _serve(run(settings))


def _local_or_url(repo: str) -> str:
    """A folder by its whole path, so that it stays the same from everywhere."""
    return str(Path(repo).resolve()) if Path(repo).is_dir() else repo


def _serve(service: Coroutine[Any, Any, int | None]) -> NoReturn:
    """Run a service to its end; its answer is the exit code."""
    import asyncio

    raise typer.Exit(asyncio.run(service) or 0)


def _log_plainly() -> None:
    """To standard error, for a service that does not set up its own log."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("httpx", "watchfiles"):
        logging.getLogger(library).setLevel(logging.WARNING)
