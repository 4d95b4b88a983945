"""`guildnet org add` and `guildnet org install`; `org_create` makes a cluster first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from guildnet_cli.options import (
    AgentsNamespaceOption,
    CheckoutOption,
    ClusterOptions,
    EgressOption,
    PresetOption,
    TaskCommandOption,
    options,
)
from guildnet_cli.output import examples, say

OrgNameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The org's name.")]


def register(app: typer.Typer) -> None:
    from guildnet_cli.commands import org_create

    group = typer.Typer(
        help="Add orgs, make their clusters, install GuildNet.",
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
            "guildnet org add acme --kubeconfig acme.kubeconfig --mesh",
        )
    )(add)
    group.command(
        epilog=examples(
            "guildnet org install acme",
            "guildnet org install acme --dry-run",
            "guildnet org install acme --mesh --mesh-login-server https://headscale.example",
        )
    )(install)
    group.command(epilog=org_create.EPILOG)(org_create.create)
    app.add_typer(group, name="org")


@dataclass(frozen=True)
class ModelOptions:
    """A model endpoint to write into the org's file."""

    model: Annotated[
        str | None,
        typer.Option(metavar="NAME=URL", help="A model endpoint that tasks may use."),
    ] = None
    model_protocol: Annotated[
        list[str] | None,
        typer.Option(metavar="PROTOCOL", help="The protocol that --model speaks. Repeatable."),
    ] = None
    model_name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A model name that tasks may request. Repeatable; the first is the default.",
        ),
    ] = None
    model_secret: Annotated[
        str, typer.Option(metavar="SECRET", help="The Secret with the API key of --model.")
    ] = "model-key"  # noqa: S105 - a name, not a password
    model_price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=INPUT/OUTPUT",
            help="The price of a model name, in USD per million tokens. Repeatable.",
        ),
    ] = None

    def entry(self) -> dict[str, Any]:
        """spec.models; empty without --model."""
        from guildnet_cli.repository.org_file import model_entry

        if self.model is None:
            if self.model_protocol or self.model_name or self.model_price:
                raise typer.BadParameter(
                    "--model-protocol, --model-name and --model-price require --model"
                )
            return {}
        return model_entry(
            self.model,
            protocols=self.model_protocol or (),
            names=self.model_name or (),
            secret=self.model_secret,
            prices=self.model_price or (),
        )


@dataclass(frozen=True)
class MeshAddOptions:
    """How this machine reaches a cluster whose API server is on a mesh."""

    mesh: Annotated[
        bool,
        typer.Option("--mesh", help="Reach the API server by its peer on a mesh."),
    ] = False
    mesh_proxy: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The HTTP or SOCKS5 proxy of this machine's tailscaled; none where it has a "
            "network interface. Default: http://127.0.0.1:1055.",
        ),
    ] = None
    mesh_host: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The peer's name or address. Default: NAME-api."),
    ] = None

    def applied(self, org: str, config: dict[str, Any]) -> dict[str, Any]:
        """The kubeconfig over the mesh with --mesh, otherwise unchanged."""
        from guildnet_cli.mesh.kubeconfig import DEFAULT_PROXY, over_mesh

        if not self.mesh:
            if self.mesh_proxy or self.mesh_host:
                raise typer.BadParameter("--mesh-proxy and --mesh-host require --mesh")
            return config
        return over_mesh(org, config, proxy=self.mesh_proxy or DEFAULT_PROXY, host=self.mesh_host)


@options(model=ModelOptions, route=MeshAddOptions)
def add(
    name: OrgNameArgument,
    *,
    kubeconfig: Annotated[
        Path, typer.Option(metavar="FILE", help="The kubeconfig of the org's cluster.")
    ],
    context: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The kubeconfig context. Default: the current one."),
    ] = None,
    namespace: AgentsNamespaceOption = "agents",
    command: TaskCommandOption = None,
    egress: EgressOption = None,
    preset: PresetOption = None,
    model: ModelOptions,
    route: MeshAddOptions,
    repo: CheckoutOption = Path(),
) -> None:
    """Create an org's file and store its cluster's kubeconfig.

    The file is orgs/NAME.yaml; the kubeconfig is stored in the state directory, outside git.
    """
    from guildnet.work_tree import WorkTree
    from guildnet_cli.cluster.kubeconfigs import check_kubeconfig, read_kubeconfig, store_kubeconfig
    from guildnet_cli.repository.org_file import new_org

    models = model.entry()
    path, content = new_org(
        name,
        context=context,
        namespace=namespace,
        command=command,
        egress=egress or (),
        preset=preset,
        models=models,
    )
    config = route.applied(
        name, read_kubeconfig(kubeconfig.expanduser(), context=context, namespace=namespace)
    )
    check_kubeconfig(config, "kubeconfig")
    created = WorkTree(repo).create(path, content)
    stored = store_kubeconfig(name, config)
    typer.echo(path)
    if not created:
        say(f"{path} already exists and was not changed.")
    say(
        f"Kubeconfig stored in {stored} (mode 0600). Next:\n"
        f"  guildnet org install {name}\n{_secret_steps(name, models)}"
        f"  git add {path} && git commit -m 'Add org {name}'"
    )


def _secret_steps(org: str, models: Mapping[str, Any]) -> str:
    """A line for each model with the command that stores its key."""
    from guildnet.secrets import entry_for

    lines = [
        f"  guildnet secret set {org} {model['secret']} --use model"
        f" --host {entry_for(str(model['baseURL']))} < key\n"
        for model in models.values()
    ]
    return "".join(lines)


@dataclass(frozen=True)
class MeshInstallOptions:
    """The peer that serves the cluster's API server on a mesh."""

    mesh: Annotated[
        bool | None,
        typer.Option(
            "--mesh/--no-mesh",
            help="Serve the cluster's API server on a mesh, or stop doing so. Default: as it is.",
            show_default=False,
        ),
    ] = None
    mesh_login_server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The mesh's control server. Default: the installed one, or spec.mesh.loginServer.",
        ),
    ] = None
    mesh_image: Annotated[
        str | None,
        typer.Option(help="The image of mesh containers: the agents' and the API server's."),
    ] = None

    def login_server(self, org: str, repo: str | None) -> str | None:
        """The control server that is given, or that of the org's file in a checkout."""
        from guildnet.mesh import login_server_problem, mesh_settings
        from guildnet_cli.repository.resources import find_org

        if self.mesh_login_server is not None:
            problem = login_server_problem(self.mesh_login_server)
            if problem:
                raise typer.BadParameter(problem, param_hint="--mesh-login-server")
            return self.mesh_login_server.rstrip("/")
        found = find_org(org, repo, local_only=True) if self.mesh else None
        settings = mesh_settings(org, found.spec.get("mesh")) if found else None
        return settings.login_server if settings else None


@options(cluster=ClusterOptions, peer=MeshInstallOptions)
def install(
    name: OrgNameArgument,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the manifests and change nothing.")
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="The image of the operator and the supervisors.")
    ] = None,
    work_image: Annotated[
        str | None, typer.Option(help="The image for tasks that do not name one.")
    ] = None,
    timeout: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, help="How long to wait for the operator.")
    ] = 180,
    cluster: ClusterOptions,
    peer: MeshInstallOptions,
) -> None:
    """Install or upgrade GuildNet in an org's cluster.

    Applies the CRD, the namespaces, RBAC and the operator, and waits for the operator. With --mesh
    also the peer through which a reconciler reaches a cluster behind NAT.
    """
    import asyncio
    from datetime import timedelta

    from guildnet_cli.cluster import installation
    from guildnet_cli.mesh import cluster_peer

    found = cluster.of(name)
    wanted = installation.manifests(
        found, image=image, work_image=work_image, mesh_image=peer.mesh_image
    )
    within = timedelta(seconds=timeout)
    login_server = peer.login_server(name, cluster.repo)

    async def peers() -> list[dict[str, Any]]:
        if peer.mesh is False:
            return []
        return await cluster_peer.wanted_peer(
            found, login_server=login_server, image=peer.mesh_image, is_new=bool(peer.mesh)
        )

    async def apply() -> None:
        # First what the peer needs: its namespace, and with it the Secret of its key.
        await installation.install(found, wanted, within)
        if peer.mesh is False:
            await cluster_peer.remove_peer(found, within)
        elif its_objects := await peers():
            await cluster_peer.check_key(found, its_objects)
            await installation.install(found, its_objects, within)
            say(cluster_peer.next_steps(name))

    if dry_run:
        typer.echo(installation.as_yaml([*wanted, *(asyncio.run(peers()) if peer.mesh else [])]))
        return
    asyncio.run(apply())
