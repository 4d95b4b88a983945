"""The verbs that run a service: reconciler, operator, agent, dashboard."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from guildnet.names import is_object_name
from guildnet_cli.options import GitOptions, StatusBranchOption, options
from guildnet_cli.output import examples
from guildnet_cli.sign_in_options import SignInOptions

if TYPE_CHECKING:
    from guildnet.git import Identity


class AgentPart(StrEnum):
    """The two programs in an agent's pod."""

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
            "guildnet dashboard --repo https://git.example/acme/state.git \\",
            "    --listen 0.0.0.0:8443 --tls-cert tls.crt --tls-key tls.key \\",
            "    --public-url https://guildnet.example --oidc-issuer https://git.example \\",
            "    --oidc-client-id CLIENT --oidc-client-secret-file secret",
        )
    )(dashboard)


RepoOption = Annotated[
    str,
    typer.Option(
        "--repo", metavar="URL-or-DIR", envvar="GUILDNET_REPO", help="The state repository."
    ),
]
BranchOption = Annotated[
    str, typer.Option(metavar="BRANCH", help="The branch with orgs and tasks.")
]


def duration(text: str) -> timedelta:
    """`60s` as a timedelta; a usage error where it is not a duration."""
    from guildnet.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def grants(given: list[str]) -> dict[str, frozenset[str]]:
    """`ORG:NAMESPACE` or `ORG` by kubeconfig, from options `KUBECONFIG=ORG:NAMESPACE[,...]`.

    `KUBECONFIG=ORG` grants every namespace.
    """
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


@options(git=GitOptions)
def reconciler(
    *,
    repo: RepoOption,
    branch: BranchOption = "main",
    status_branch: StatusBranchOption = "status",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The address for webhooks, health and metrics.")
    ] = "127.0.0.1:8080",
    webhook_secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The secret that signs webhooks.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The bearer token for sync and metrics."),
    ] = None,
    poll: Annotated[
        str, typer.Option(metavar="DURATION", help="How often to poll the remote.")
    ] = "60s",
    once: Annotated[bool, typer.Option("--once", help="Make one pass and exit.")] = False,
    org: Annotated[str | None, typer.Option(help="Reconcile only this org.")] = None,
    in_cluster: Annotated[
        bool,
        typer.Option(
            "--in-cluster", help="Reach the org's cluster with the pod's account; requires --org."
        ),
    ] = False,
    kubeconfig_secrets: Annotated[
        bool,
        typer.Option(
            "--kubeconfig-secrets",
            help="Take kubeconfigs from Secrets in the pod's namespace that are labelled "
            "guildnet.io/use=kubeconfig.",
        ),
    ] = False,
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Relay webhooks to the replicas that this name resolves to."
        ),
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="The number of reconcilers that share the orgs.")
    ] = 1,
    shard: Annotated[int, typer.Option(min=0, help="The index of this reconciler, from 0.")] = 0,
    init_status: Annotated[
        bool, typer.Option("--init-status", help="Create a new status branch if it was lost.")
    ] = False,
    allowed_signers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Apply only commits that one of these SSH keys signed."),
    ] = None,
    openpgp_keyring: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Apply only commits that one of these OpenPGP keys signed: the output of "
            "`gpg --export KEY...`. With --allowed-signers, either signature is enough.",
        ),
    ] = None,
    org_signers: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder with files for each org: ORG lists the SSH keys, ORG.gpg holds the "
            "OpenPGP keys that may approve for it.",
        ),
    ] = None,
    status_signing_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An SSH private key that signs the status commits."),
    ] = None,
    forge_token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A token that may set commit statuses, or a folder as --git-credentials.",
        ),
    ] = None,
    grant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KUBECONFIG=ORG:NAMESPACE",
            help="Let an org use another org's kubeconfig. Repeatable.",
        ),
    ] = None,
    git: GitOptions,
) -> None:
    """Run the reconciler: apply git to the orgs' clusters.

    It records the status of orgs and tasks on the status branch.
    """
    from guildnet.state_folder import state_folder
    from guildnet_reconciler.settings import Settings

    if shard >= shards:
        raise typer.BadParameter("--shard must be less than --shards (it counts from 0)")
    if in_cluster and org is None:
        raise typer.BadParameter("--in-cluster requires --org: one account is one cluster")
    if in_cluster and kubeconfig_secrets:
        raise typer.BadParameter("--in-cluster needs no kubeconfig: leave --kubeconfig-secrets out")
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
        in_cluster=in_cluster,
        kubeconfig_secrets=kubeconfig_secrets,
        peers=peers,
        shards=shards,
        shard=shard,
        init_status=init_status,
        credentials=git.folder(),
        forge_token_file=forge_token_file,
        allowed_signers=allowed_signers,
        openpgp_keyring=openpgp_keyring,
        org_signers=org_signers,
        identity=_identity(status_signing_key),
        granted_kubeconfigs=grants(grant or []),
    )
    from guildnet_reconciler.main import run

    _serve(run(settings))


def operator(
    *,
    kubeconfig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the pod's service account.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(metavar="NAME", help="The kubeconfig context.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="The namespace of the AgentTasks.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(envvar="GUILDNET_OPERATOR_IMAGE", help="The image of the supervisors."),
    ] = None,
    work_image: Annotated[
        str | None,
        typer.Option(
            envvar="GUILDNET_WORK_IMAGE", help="The image for tasks that do not name one."
        ),
    ] = None,
) -> None:
    """Run the operator for the AgentTasks of one namespace."""
    import os

    from guildnet_operator.settings import Settings, from_environment

    given: dict[str, Any] = from_environment(os.environ)
    chosen = {"operator_image": image, "work_image": work_image}
    given |= {name: value for name, value in chosen.items() if value is not None}
    settings = Settings(kubeconfig=kubeconfig, context=context, namespace=namespace, **given)
    from guildnet_operator.main import run

    _serve(run(settings))


def agent(
    part: Annotated[AgentPart, typer.Argument(help="Which program to run.")],
) -> None:
    """Run one of the two programs of an agent's pod."""
    import importlib

    raise typer.Exit(importlib.import_module(f"guildnet_agent.{part.value}.main").main())


@options(git=GitOptions, sign_in=SignInOptions)
def dashboard(
    *,
    repo: RepoOption,
    branch: BranchOption = "main",
    status_branch: StatusBranchOption = "status",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The address to listen on.")
    ] = "127.0.0.1:8443",
    poll: Annotated[
        str, typer.Option(metavar="DURATION", help="How often to poll the remote.")
    ] = "5s",
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The token that viewers log in with.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A PEM certificate; requires --tls-key.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's key.")
    ] = None,
    dev_tls: Annotated[
        bool, typer.Option("--dev-tls", help="Serve HTTPS with a self-signed certificate.")
    ] = False,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Allow a public address without TLS, token or sign-in."),
    ] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An additional allowed Host name. Repeatable."),
    ] = None,
    sign_in: SignInOptions,
    git: GitOptions,
) -> None:
    """Serve the read-only web dashboard.

    It reads the state repository alone, never a cluster.
    """
    from guildnet.state_folder import state_folder
    from guildnet_dashboard.settings import Settings

    settings = Settings(
        repository=_local_or_url(repo),
        state_dir=state_folder(),
        branch=branch,
        status_branch=status_branch,
        listen=listen,
        poll=duration(poll),
        credentials_dir=git.folder(),
        token_file=token_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        dev_tls=dev_tls,
        insecure=insecure,
        hosts=tuple(host or ()),
        sign_in=sign_in.settings(),
    )
    from guildnet_dashboard.main import run

    _log_plainly()
    _serve(run(settings))


def _identity(signing_key: Path | None) -> Identity:
    """The author of status commits, who signs them if there is a key."""
    from guildnet.git import Identity
    from guildnet.git.signing_key import usable_signing_key
    from guildnet.state_folder import state_folder

    if signing_key is None:
        return Identity()
    key = usable_signing_key(signing_key.expanduser().absolute(), state_folder() / "signing")
    return Identity(signing_key=key)


def _local_or_url(repo: str) -> str:
    """A URL as it is; a folder as an absolute path."""
    return str(Path(repo).resolve()) if Path(repo).is_dir() else repo


def _serve(service: Coroutine[Any, Any, int | None]) -> NoReturn:
    """Run a service until it ends; exit with the code that it returns."""
    import asyncio

    raise typer.Exit(asyncio.run(service) or 0)


def _log_plainly() -> None:
    """Log to standard error, for a service that does not configure logging itself."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("httpx", "watchfiles"):
        logging.getLogger(library).setLevel(logging.WARNING)
