"""`guildnet notify`: the secrets of an org's receivers of notifications, and test messages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from guildnet.errors import ConfigurationError, InvalidResource, Problem
from guildnet_cli.options import RepoOption
from guildnet_cli.output import examples, say

MAX_VALUE_BYTES = 4096

OrgArgument = Annotated[str, typer.Argument(metavar="ORG", help="The org.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Manage who is notified of an org's failures.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )

    @group.callback()
    def notify() -> None:
        """Manage who is notified of an org's failures."""

    group.command(
        "secret",
        epilog=examples(
            "guildnet notify secret acme chat-url < url",
            "openssl rand -hex 32 | guildnet notify secret acme ops-key",
        ),
    )(store)
    group.command(
        "test", epilog=examples("guildnet notify test acme", "guildnet notify test acme ops")
    )(send_test)
    app.add_typer(group, name="notify")


def store(
    org: OrgArgument,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name that spec.notify gives as secret.")
    ],
) -> None:
    """Store the secret of a receiver.

    Reads it from standard input (on a terminal, asks for it without an echo) and keeps it in the
    state folder of this machine. It is the key that signs a webhook, the URL of slack, or the
    access token of matrix.
    """
    from guildnet.names import is_name
    from guildnet.state_folder import notify_secret_path, private_folder, write_private

    for given in (org, name):
        if not is_name(given):
            message = f"{given!r} is not a lower-case DNS label of at most 50 characters"
            raise InvalidResource([Problem("guildnet notify secret", 0, message)])
    path = notify_secret_path(org, name)
    value = _value(name)
    try:
        private_folder(path.parent)
        write_private(path, value.encode() + b"\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write: {error.strerror}", place=str(path)) from error
    say(f"stored {path}")


def _value(name: str) -> str:
    from guildnet.secret_files import decode_secret

    if sys.stdin.isatty():
        return str(typer.prompt(name, hide_input=True)).strip()
    data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if len(data) > MAX_VALUE_BYTES:
        raise typer.BadParameter(f"the value is larger than {MAX_VALUE_BYTES:,} bytes")
    try:
        value = decode_secret(data)
    except UnicodeDecodeError as error:
        raise typer.BadParameter("the value is not text") from error
    if not value:
        raise typer.BadParameter("standard input is empty; pass the value there")
    return value


def send_test(
    org: OrgArgument,
    receiver: Annotated[
        str | None,
        typer.Argument(metavar="[RECEIVER]", help="One receiver of the org. Default: all."),
    ] = None,
    repo: RepoOption = None,
) -> None:
    """Send a test message to the org's receivers.

    Uses the secrets of this machine. Exits with 1 when a receiver did not accept it.
    """
    import asyncio
    import secrets

    from guildnet.notify.delivery import Courier, NotDelivered
    from guildnet.notify.notices import Notice
    from guildnet.notify.receivers import receivers_of
    from guildnet.resources import org_path
    from guildnet.state_folder import state_folder
    from guildnet_cli.repository.resources import find_org

    found = find_org(org, repo)
    assert found is not None
    receivers = receivers_of(found.spec)
    if not receivers or (receiver is not None and receiver not in receivers):
        known = ", ".join(receivers) or "none"
        what = f"receiver {receiver!r} not found" if receiver else "nobody to notify"
        raise ConfigurationError(
            f"{what}; receivers: {known}",
            place=org_path(org),
            cure="Add it under spec.notify.",
        )
    notice = Notice(secrets.token_hex(16), "Test", "a test message; nothing has happened")

    async def send() -> bool:
        courier, all_accepted = Courier(org, state_folder()), True
        try:
            for name, chosen in receivers.items():
                if receiver in (None, name):
                    try:
                        await courier.deliver(chosen, notice)
                        say(f"{name}: sent")
                    except NotDelivered as error:
                        all_accepted = False
                        say(f"{name}: {error}")
        finally:
            courier.close()
        return all_accepted

    if not asyncio.run(send()):
        raise typer.Exit(1)
