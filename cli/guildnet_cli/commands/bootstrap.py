"""`guildnet bootstrap`: make or complete a state repository on a forge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet_cli.options import StatusBranchOption
from guildnet_cli.output import Format, FormatOption, emit, examples, say, table

if TYPE_CHECKING:
    from guildnet.forges import Administration
    from guildnet_cli.bootstrap.steps import Bootstrap, Step, Wanted

_TOKEN = "GUILDNET_FORGE_TOKEN"  # noqa: S105 - a variable's name


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet bootstrap https://git.example/ops/state --token-file token \\",
            "    --webhook-url https://guildnet.example",
        )
    )(bootstrap)


def bootstrap(
    url: Annotated[
        str, typer.Argument(metavar="FORGE-URL", help="The repository's page or clone URL.")
    ],
    *,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"A token that may administer the repository. Default: the variable {_TOKEN}.",
        ),
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The reconciler's address for webhooks. Default: no webhook."
        ),
    ] = None,
    branch: Annotated[
        str, typer.Option(metavar="BRANCH", help="The branch with orgs and tasks.")
    ] = "main",
    status_branch: StatusBranchOption = "status",
    approvals: Annotated[
        int, typer.Option(min=0, max=6, help="The approvals that a pull request needs.")
    ] = 1,
    with_examples: Annotated[
        bool, typer.Option("--examples/--no-examples", help="Add an example org with tasks.")
    ] = False,
    known_hosts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The host keys of the forge's SSH server. Default: ask the forge and the server.",
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="gitea, forgejo, github or gitlab. Default: detected."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Make or complete a state repository on a forge.

    Creates the repository with the template, a deploy key and a webhook for the reconciler, and
    protects both branches. Prints a plan and asks. Run it again after any interruption.
    """
    import asyncio

    from guildnet.git.location import check_url
    from guildnet.git.refs import is_ref_name
    from guildnet_cli.bootstrap.steps import Wanted

    check_url(url)
    for name in (branch, status_branch):
        if not is_ref_name(name):
            raise typer.BadParameter(f"{name!r} is not the name of a branch")
    if branch == status_branch:
        raise typer.BadParameter("--branch and --status-branch are the same branch")
    token = _token(token_file)

    async def run() -> None:
        administration = await _administration(url, provider, token)
        wanted = Wanted(
            branch=branch,
            status_branch=status_branch,
            approvals=approvals,
            with_examples=with_examples,
            webhook_url=_webhook(webhook_url, administration.provider),
            known_hosts=known_hosts,
        )
        await _run(_bootstrap(url, token, administration, wanted), output, yes=yes)

    asyncio.run(run())


async def _run(bootstrap: Bootstrap, output: Format, *, yes: bool) -> None:
    from guildnet.errors import ConfigurationError

    steps = await bootstrap.plan()
    pending = any(step.apply for step in steps)
    if pending and not yes:
        if not sys.stdin.isatty():
            _report(bootstrap, steps, output, applied=False)
            raise ConfigurationError(
                "nothing was changed: nobody can be asked, because standard input is not a "
                "terminal",
                cure="Read the plan, then give --yes.",
            )
        say(_as_table(steps))
        typer.confirm("Make these changes?", abort=True, err=True)
    done = []
    for step in steps:
        if step.apply is not None:
            say(f"{step.item}: {step.action.value} ...")
        done.append(await bootstrap.apply(step))
    _report(bootstrap, done, output, applied=True)
    if not pending:
        say("Nothing to do.")
    if bootstrap.hosted is not None:
        say(f"Start the reconciler with:\n  {_reconciler_command(bootstrap)}")


def _report(bootstrap: Bootstrap, steps: Sequence[Step], output: Format, *, applied: bool) -> None:
    data: dict[str, Any] = {
        "provider": bootstrap.administration.provider,
        "repository": bootstrap.administration.repository,
        "applied": applied,
        "steps": [
            {"item": step.item, "action": step.action.value, "detail": step.detail}
            for step in steps
        ],
        "reconciler": {
            "repo": bootstrap.hosted.ssh_url if bootstrap.hosted else None,
            "gitCredentials": str(bootstrap.files.credentials),
            "webhookSecretFile": str(bootstrap.files.webhook_secret),
        },
    }
    emit(data, output, lambda: _as_table(steps))


def _as_table(steps: Sequence[Step]) -> str:
    return table(
        ("ACTION", "ITEM", "DETAIL"),
        [(step.action.value, step.item, step.detail) for step in steps],
    )


def _reconciler_command(bootstrap: Bootstrap) -> str:
    import shlex

    assert bootstrap.hosted is not None
    wanted = bootstrap.wanted
    words = ["guildnet", "reconciler", "--repo", bootstrap.hosted.ssh_url]
    if wanted.branch != "main":
        words += ["--branch", wanted.branch]
    if wanted.status_branch != "status":
        words += ["--status-branch", wanted.status_branch]
    words += ["--git-credentials", str(bootstrap.files.credentials)]
    if bootstrap.files.has_webhook_secret():
        words += ["--webhook-secret-file", str(bootstrap.files.webhook_secret)]
    return shlex.join(words)


def _bootstrap(url: str, token: str, administration: Administration, wanted: Wanted) -> Bootstrap:
    from guildnet.forges.detection import parse_address
    from guildnet.git import Credentials
    from guildnet_cli.bootstrap.content import RemoteContent
    from guildnet_cli.bootstrap.files import ReconcilerFiles
    from guildnet_cli.bootstrap.steps import Bootstrap

    address = parse_address(url)
    assert address is not None, "an administration has an address"
    clone_url = f"{address.host_url}/{address.path}.git"
    content = RemoteContent(
        clone_url, Credentials(password=token), wanted.branch, wanted.status_branch
    )
    return Bootstrap(administration, ReconcilerFiles.of(clone_url), content, wanted)


async def _administration(url: str, provider: str | None, token: str) -> Administration:
    from guildnet.errors import ConfigurationError
    from guildnet.forges import detect_administration

    found = await detect_administration(url, provider, token)
    if found is None:
        raise ConfigurationError(
            "not a repository's URL on a forge that can be set up",
            place=url,
            cure="Give the URL of a repository on Gitea, Forgejo, GitHub or GitLab, with "
            "--provider if the forge is not recognised. On other forges set it up by hand: "
            "docs/run-it.md says what is needed.",
        )
    return found


def _token(file: Path | None) -> str:
    import os

    from guildnet.errors import ConfigurationError
    from guildnet.secret_files import read_secret

    token = os.environ.get(_TOKEN, "").strip() if file is None else read_secret(file)
    if not token:
        raise ConfigurationError(
            "no token for the forge",
            place=_TOKEN if file is None else str(file),
            cure=f"Give --token-file FILE, or set {_TOKEN}.",
        )
    return token


def _webhook(url: str | None, provider: str) -> str | None:
    """The address that the forge posts to: the reconciler's path is added to a bare host."""
    from urllib.parse import urlsplit

    from guildnet.urls import url_fault

    if url is None:
        return None
    fault = url_fault(url)
    if fault is not None or urlsplit(url).scheme not in ("http", "https"):
        raise typer.BadParameter(f"--webhook-url: {fault or 'not an http or https URL'}")
    bare = urlsplit(url).path in ("", "/")
    return f"{url.rstrip('/')}/webhook/{provider}" if bare else url
