"""`guildnet secret set`: Secrets that tasks may use, labelled with what they are for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from guildnet_cli.output import examples, say

MAX_VALUE_BYTES = 64 * 1024
# Whole files, whose last newline belongs to them.
_FILES = ("ssh-privatekey", "known_hosts", "ca.crt")
_GIT_KEYS = ("token", "password", "username", *_FILES)


class Use(StrEnum):
    """What a Secret is for; it is usable for nothing else."""

    GIT = "git"
    AGENT_ENV = "agent-env"
    MODEL = "model"
    MESH = "mesh"


DEFAULT_KEYS = {
    Use.GIT: "token",
    Use.AGENT_ENV: "api-key",
    Use.MODEL: "api-key",
    Use.MESH: "authkey",
}
# Of these the Secret says to which hosts it may go.
_BOUND = (Use.GIT, Use.MODEL)


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Secrets in an org's cluster that its tasks may use.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )

    @group.callback()
    def secret() -> None:
        """Secrets in an org's cluster that its tasks may use."""

    group.command(
        "set",
        epilog=examples(
            "guildnet secret set acme forge-token --use git --host git.example < token",
            "guildnet secret set acme model-key --use model --host api.anthropic.com < key",
        ),
    )(set_secret)
    app.add_typer(group, name="secret")


def set_secret(
    org: Annotated[str, typer.Argument(metavar="ORG", help="The org.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The Secret's name.")],
    *,
    use: Annotated[Use, typer.Option(help="What it is for.")],
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[http://]HOST[:PORT]",
            help="With --use git or model: where it may go; plain http only with http://; "
            "repeatable.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The key in it; token, api-key or authkey by default, after --use."),
    ] = None,
    repo: Annotated[
        str | None, typer.Option(metavar="URL-or-DIR", help="The state repository.")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Instead of the stored kubeconfig.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The context in it.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Instead of the org's.")] = None,
) -> None:
    """Set one value of a Secret, read from standard input; its other keys stay."""
    import asyncio

    from guildnet_cli.org_cluster import org_cluster

    chosen = key or DEFAULT_KEYS[use]
    if use is Use.GIT and chosen not in _GIT_KEYS:
        raise typer.BadParameter(f"with --use git the key is one of {', '.join(_GIT_KEYS)}")
    if use is Use.MODEL and chosen != DEFAULT_KEYS[use]:
        raise typer.BadParameter(f"with --use model the key is {DEFAULT_KEYS[use]}")
    if host and use not in _BOUND:
        raise typer.BadParameter("--host goes with --use git or model")
    cluster = org_cluster(
        org, repo=repo, kubeconfig=kubeconfig, context=context, namespace=namespace
    )
    value = _value(chosen)

    async def apply() -> None:
        async with cluster.client() as client:
            from guildnet import kube

            before = await client.find(kube.SECRETS, name, cluster.namespace)
            wanted = manifest(
                before,
                name=name,
                namespace=cluster.namespace,
                use=use,
                hosts=tuple(host or ()),
                data={chosen: value},
            )
            await client.apply(wanted, field_manager="guildnet-cli")

    asyncio.run(apply())
    say(f"Secret {cluster.namespace}/{name} has a new {chosen}, for {use.value}.")


def manifest(
    before: Mapping[str, Any] | None,
    *,
    name: str,
    namespace: str,
    use: Use,
    hosts: Sequence[str],
    data: Mapping[str, bytes],
) -> dict[str, Any]:
    """The Secret to apply: what we set before, with `data` put in. Pure.

    Raises ConfigurationError for a Secret that is another's, or that is for something else: what
    it holds was not given for this use.
    """
    import base64

    from guildnet import labels
    from guildnet.errors import ConfigurationError

    place = f"Secret {namespace}/{name}"
    meta: Mapping[str, Any] = (before or {}).get("metadata", {})
    given = meta.get("labels", {}).get(labels.USE)
    if before is not None and given != use.value:
        raise ConfigurationError(
            f"it is for {given}" if given else "it exists, and was not made for tasks",
            place=place,
            cure="Take another name, or delete it first.",
        )
    allowed = ",".join(hosts) or meta.get("annotations", {}).get(labels.HOSTS, "")
    if use in _BOUND and not allowed:
        raise ConfigurationError(
            f"a {use.value} Secret goes nowhere without a host",
            place=place,
            cure="Name where it may go with --host, such as --host git.example.",
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
    """From standard input: asked for unseen on a terminal, else read to its end."""
    if sys.stdin.isatty() and key not in _FILES:
        data = str(typer.prompt(key, hide_input=True)).encode()
    else:
        data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    if len(data) > MAX_VALUE_BYTES:
        raise typer.BadParameter(f"the value has more than {MAX_VALUE_BYTES:,} bytes")
    data = data.rstrip(b"\r\n") + (b"\n" if key in _FILES else b"")
    if not data.strip():
        raise typer.BadParameter("standard input was empty; the value is read from it")
    return data
