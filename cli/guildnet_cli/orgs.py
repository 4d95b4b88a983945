"""Verbs about an org: `org add` (no cluster needed) and `org install`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from guildnet_cli.output import examples, say


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Organisations: one YAML file, one cluster each.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(
        epilog=examples(
            "guildnet org add acme --kubeconfig acme.kubeconfig \\",
            "    --command 'my-agent --task \"$0\"' --egress git.example --egress model.example",
            "guildnet org add acme --kubeconfig ~/.kube/config --context admin@acme \\",
            "    --preset codex --model main=https://model.example/v1 \\",
            "    --model-protocol openai-responses --model-name some-model",
        )
    )(add)
    group.command(
        epilog=examples("guildnet org install acme", "guildnet org install acme --dry-run")
    )(install)
    app.add_typer(group, name="org")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The org's name.")],
    *,
    kubeconfig: Annotated[Path, typer.Option(help="The kubeconfig of its cluster.")],
    context: Annotated[
        str | None, typer.Option(help="The context in it; the current one by default.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Where its AgentTasks live.")] = "agents",
    command: Annotated[
        str | None,
        typer.Option(help="What its tasks run by default, by sh; the prompt is its $0."),
    ] = None,
    egress: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="What its agents may reach, the forge first of all; repeatable. All else is "
            "closed to them.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="The coding agent that its tasks run by default, such as codex."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME=URL", help="A model endpoint that its tasks may use."),
    ] = None,
    model_protocol: Annotated[
        list[str] | None,
        typer.Option(metavar="PROTOCOL", help="What --model speaks; repeatable."),
    ] = None,
    model_name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A model name that may be asked for; repeatable, the first is the default.",
        ),
    ] = None,
    model_secret: Annotated[
        str | None,
        typer.Option(metavar="SECRET", help="The Secret with its key; model-key by default."),
    ] = None,
    model_price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=INPUT/OUTPUT", help="USD for a million tokens of --model; repeatable."
        ),
    ] = None,
    repo: Annotated[
        Path, typer.Option(metavar="DIR", help="The state repository's checkout.")
    ] = Path(),
) -> None:
    """Write orgs/NAME.yaml and store the cluster's kubeconfig under the same name."""
    from guildnet.work_tree import WorkTree
    from guildnet_cli import org_files
    from guildnet_cli.kubeconfigs import read_kubeconfig

    if model is None and (model_protocol or model_name or model_price):
        raise typer.BadParameter("--model-protocol, --model-name and --model-price need --model")
    models = (
        {}
        if model is None
        else org_files.model_entry(
            model,
            model_protocol or (),
            model_name or (),
            model_secret or "model-key",
            model_price or (),
        )
    )
    path, content = org_files.new_org(
        name,
        context=context,
        namespace=namespace,
        command=command,
        egress=egress or (),
        preset=preset,
        models=models,
    )
    config = read_kubeconfig(kubeconfig.expanduser(), context=context, namespace=namespace)
    created = WorkTree(repo).create(path, content)
    stored = org_files.store_kubeconfig(name, config)
    typer.echo(path)
    if not created:
        say(f"{path} was there already and stays as it is.")
    say(
        f"Kubeconfig stored as {stored} (mode 0600). Next:\n"
        f"  guildnet org install {name}\n{_secret_step(name, models)}"
        f"  git add {path} && git commit -m 'Add org {name}'"
    )


def _secret_step(org: str, models: Mapping[str, Any]) -> str:
    """The command that stores the key of each model, as a line; empty without models."""
    from guildnet.secrets import entry_for

    lines = [
        f"  guildnet secret set {org} {model['secret']} --use model"
        f" --host {entry_for(str(model['baseURL']))} < key\n"
        for model in models.values()
    ]
    return "".join(lines)


def install(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The org's name.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the manifests and change nothing.")
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="The operator's image; the supervisor of agents too.")
    ] = None,
    work_image: Annotated[
        str | None, typer.Option(help="The image of agents whose task names none.")
    ] = None,
    timeout: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, help="How long to wait for the operator.")
    ] = 180,
    repo: Annotated[
        str | None, typer.Option(metavar="URL-or-DIR", help="The state repository.")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Instead of the stored kubeconfig.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The context in it.")] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Instead of the namespace in the org's file.")
    ] = None,
) -> None:
    """Put the CRD, namespace, permissions and operator into the org's cluster, or upgrade them."""
    import asyncio
    from datetime import timedelta

    from guildnet_cli import installation
    from guildnet_cli.org_cluster import org_cluster

    cluster = org_cluster(
        name, repo=repo, kubeconfig=kubeconfig, context=context, namespace=namespace
    )
    wanted = installation.manifests(cluster, image=image, work_image=work_image)
    if dry_run:
        typer.echo(installation.as_yaml(wanted))
        return
    asyncio.run(installation.install(cluster, wanted, timedelta(seconds=timeout)))
