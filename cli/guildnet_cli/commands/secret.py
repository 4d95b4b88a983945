"""`guildnet secret set`: Secrets that tasks may use, each labelled with its use."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from guildnet_cli.options import ClusterOptions, options
from guildnet_cli.output import examples, say

MAX_VALUE_BYTES = 64 * 1024
# Keys whose value is a whole file: its last newline belongs to it.
_FILES = ("ssh-privatekey", "known_hosts", "ca.crt")
_MODEL_KEYS = ("api-key", "ca.crt")
_MESH_KEYS = ("api-key", "auth-key", "client-id", "client-secret", "ca.crt")
_GIT_KEYS = ("token", "password", "username", *_FILES)


class Use(StrEnum):
    """The use of a Secret; tasks cannot use it for anything else."""

    GIT = "git"
    AGENT_ENV = "agent-env"
    MODEL = "model"
    MESH = "mesh"


DEFAULT_KEYS = {
    Use.GIT: "token",
    Use.AGENT_ENV: "api-key",
    Use.MODEL: "api-key",
    Use.MESH: "api-key",
}
# The uses whose Secrets list the hosts that may receive them.
_BOUND_TO_HOSTS = (Use.GIT, Use.MODEL, Use.MESH)
# The keys that a Secret of each use can have; any for agent-env.
_KEYS = {Use.GIT: _GIT_KEYS, Use.MODEL: _MODEL_KEYS, Use.MESH: _MESH_KEYS}


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Manage the Secrets that an org's tasks may use.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )

    @group.callback()
    def secret() -> None:
        """Manage the Secrets that an org's tasks may use."""

    group.command(
        "set",
        epilog=examples(
            "guildnet secret set acme forge-token --use git --host git.example < token",
            "guildnet secret set acme model-key --use model --host api.anthropic.com < key",
            "guildnet secret set acme mesh --use mesh --host headscale.example < api-key",
        ),
    )(set_secret)
    app.add_typer(group, name="secret")


@options(cluster=ClusterOptions)
def set_secret(
    org: Annotated[str, typer.Argument(metavar="ORG", help="The org's name.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The Secret's name.")],
    *,
    use: Annotated[Use, typer.Option(help="What it is used for.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[http://]HOST[:PORT]",
            help="With --use git, model or mesh: a host that may receive it. Repeatable. Plain "
            "HTTP only with http://.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="The key to set. Default: token for git, api-key for others. For mesh: "
            "api-key (Headscale), client-id and client-secret (Tailscale), or auth-key; and "
            "ca.crt for an authority of your own."
        ),
    ] = None,
    cluster: ClusterOptions,
) -> None:
    """Set one key of a Secret that tasks may use.

    Reads the value from standard input; on a terminal, asks for it without an echo. The other keys
    of the Secret stay.
    """
    import asyncio

    chosen = key or DEFAULT_KEYS[use]
    if use in _KEYS and chosen not in _KEYS[use]:
        raise typer.BadParameter(f"with --use {use}, --key must be one of {', '.join(_KEYS[use])}")
    if host and use not in _BOUND_TO_HOSTS:
        raise typer.BadParameter("--host requires --use git, model or mesh")
    found = cluster.of(org)
    value = _value(chosen)

    async def apply() -> None:
        from guildnet import kube

        async with found.client() as client:
            before = await client.find(kube.SECRETS, name, found.namespace)
            wanted = manifest(
                before,
                name=name,
                namespace=found.namespace,
                use=use,
                hosts=tuple(host or ()),
                data={chosen: value},
            )
            await client.apply(wanted, field_manager="guildnet-cli")

    asyncio.run(apply())
    say(f"Secret {found.namespace}/{name}: {chosen} set, for use {use.value}")


def manifest(
    before: Mapping[str, Any] | None,
    *,
    name: str,
    namespace: str,
    use: Use,
    hosts: Sequence[str],
    data: Mapping[str, bytes],
) -> dict[str, Any]:
    """The Secret to apply: the existing one with `data` added. Pure.

    Raises ConfigurationError where the existing Secret is not labelled for `use`: its values were
    not given for it.
    """
    import base64

    from guildnet import labels
    from guildnet.errors import ConfigurationError

    place = f"Secret {namespace}/{name}"
    meta: Mapping[str, Any] = (before or {}).get("metadata", {})
    given = meta.get("labels", {}).get(labels.USE)
    if before is not None and given != use.value:
        raise ConfigurationError(
            f"the Secret exists for use {given}, not {use.value}"
            if given
            else f"the Secret exists and has no label {labels.USE}",
            place=place,
            cure="Choose another name, or delete the Secret first.",
        )
    allowed = ",".join(hosts) or meta.get("annotations", {}).get(labels.HOSTS, "")
    if use in _BOUND_TO_HOSTS and not allowed:
        raise ConfigurationError(
            f"a {use.value} Secret needs at least one host",
            place=place,
            cure="Give the host that may receive it, such as --host git.example.",
        )
    own_metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": {labels.MANAGED_BY: "guildnet-cli", labels.USE: use.value},
    }
    if allowed:
        own_metadata["annotations"] = {labels.HOSTS: allowed}
    encoded = {k: base64.b64encode(v).decode() for k, v in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": own_metadata,
        "type": "Opaque",
        "data": {**((before or {}).get("data") or {}), **encoded},
    }


def _value(key: str) -> bytes:
    """Standard input to its end; on a terminal, what the user types without an echo."""
    if sys.stdin.isatty() and key not in _FILES:
        data = str(typer.prompt(key, hide_input=True)).encode()
    else:
        data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if len(data) > MAX_VALUE_BYTES:
        raise typer.BadParameter(f"the value is larger than {MAX_VALUE_BYTES:,} bytes")
    data = data.rstrip(b"\r\n") + (b"\n" if key in _FILES else b"")
    if not data.strip():
        raise typer.BadParameter("standard input is empty; pass the value there")
    return data
