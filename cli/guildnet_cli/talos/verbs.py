"""The verbs of `guildnet talos`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from guildnet.age_files import age_identity
from guildnet.errors import GuildNetError
from guildnet.state_folder import kubeconfig_path
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.configuration import Mode
from guildnet.talos.files import WorkTreeFiles
from guildnet_cli.options import CheckoutOption
from guildnet_cli.output import (
    Format,
    FormatOption,
    describe,
    emit,
    examples,
    say,
    say_changes,
    table,
)
from guildnet_cli.talos import comparing
from guildnet_cli.talos.generating import generate
from guildnet_cli.talos.opening import alone, chosen, find_org_in, find_spec, open_cluster

talos_app = typer.Typer(
    name="talos",
    help="Make and keep an org's Talos machines, from git.\n\nRun it in a checkout of the state "
    "repository. Needs talosctl on PATH.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OrgArgument = Annotated[str, typer.Argument(metavar="ORG", help="The org.")]
NodeOption = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="ADDRESS", help="Only this machine. Repeatable."),
]
TimeoutOption = Annotated[
    int, typer.Option(metavar="SECONDS", min=1, help="How long to wait at most.")
]
DIFFERENT, FAILED = 1, 2


@talos_app.command(epilog=examples("guildnet talos gen acme"))
def gen(
    org: OrgArgument, *, repo: CheckoutOption = Path(), output: FormatOption = Format.TEXT
) -> None:
    """Make the secrets once; render machine configurations.

    They are written to the state directory, readable by you alone; the same files in git give the
    same bytes.
    """
    spec = find_spec(repo, org)
    with alone(org) as state:
        _, made = generate(repo, spec, state)
    lines = [f"{address}: {path}" for address, path in made.files.items()]
    emit(made.to_json(), output, lambda: "\n".join(lines))
    say(f"{len(made.changed)} of {len(made.files)} configurations changed")


@talos_app.command(
    epilog=examples("guildnet talos diff acme", "guildnet talos diff acme --node 10.0.0.3 -o json")
)
def diff(
    org: OrgArgument,
    *,
    node: NodeOption = None,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Compare what the machines run with what git says.

    The machines answer themselves, by a dry run; keys are masked. Exits with 0 when all are the
    same, 1 when one differs, 2 when one could not be compared.
    """
    with _errors_as(FAILED):
        cluster = open_cluster(repo, org)
        results = comparing.compare(cluster, chosen(cluster.spec, node))
    emit([found.to_json() for found in results], output, lambda: comparing.to_text(results))
    kinds = {found.result for found in results}
    raise typer.Exit(FAILED if "failed" in kinds else DIFFERENT if kinds != {"same"} else 0)


@talos_app.command(
    name="apply",
    epilog=examples(
        "guildnet talos apply acme", "guildnet talos apply acme --node 10.0.0.3 --mode staged"
    ),
)
def apply_(
    org: OrgArgument,
    *,
    node: NodeOption = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="How a configured machine takes it over: no-reboot refuses what needs a reboot, "
            "auto may reboot, staged waits for the next boot, try reverts after a minute."
        ),
    ] = Mode.NO_REBOOT,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Give the machines the configuration that git says.

    Works on new machines in maintenance mode and on configured ones. Each machine judges its
    configuration in a dry run first; one that is the same is left alone.
    """
    find_spec(repo, org)
    with alone(org):
        cluster = open_cluster(repo, org)
        machines = chosen(cluster.spec, node)
        results = comparing.apply_all(cluster, machines, mode, say_changes())
    emit([found.to_json() for found in results], output, lambda: comparing.to_text(results))
    raise typer.Exit(1 if any(found.result == "failed" for found in results) else 0)


@talos_app.command(epilog=examples("guildnet talos bootstrap acme"))
def bootstrap(
    org: OrgArgument,
    *,
    timeout: TimeoutOption = 600,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Start the cluster's etcd, once, on the first control plane.

    Does nothing where etcd has data already. Never run it from two computers at the same time: a
    second request within seconds destroys an etcd that is starting.
    """
    from guildnet.talos.bootstrap import bootstrap as bootstrap_etcd

    find_spec(repo, org)
    with alone(org):
        found = bootstrap_etcd(open_cluster(repo, org), timedelta(seconds=timeout), say_changes())
    data = {"machine": found.machine.address, "requested": found.requested}
    emit(data, output, lambda: f"etcd runs on {found.machine.address}")


@talos_app.command(
    epilog=examples("guildnet talos kubeconfig acme", "guildnet talos kubeconfig acme --force")
)
def kubeconfig(
    org: OrgArgument,
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Fetch a new one, also in place of another cluster's."),
    ] = False,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Store the cluster's kubeconfig in the state folder.

    It is fetched where it is missing or ends within 30 days, and never printed.
    """
    from guildnet_cli.talos.kubeconfig import ensure_kubeconfig

    found = find_org_in(repo, org)
    with alone(org):
        stored = ensure_kubeconfig(open_cluster(repo, org), found, force=force)
    end = stored.end.isoformat() if stored.end else None
    data = {"file": str(stored.path), "end": end, "fetched": stored.fetched}
    emit(data, output, lambda: f"{stored.path}")
    say("fetched" if stored.fetched else "kept: it is valid for more than 30 days")


@talos_app.command(
    epilog=examples("guildnet talos health acme", "guildnet talos health acme -o json")
)
def health(
    org: OrgArgument,
    *,
    timeout: TimeoutOption = 300,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Wait until Talos is healthy and every node Ready."""
    from guildnet_cli.cluster.org_cluster import cluster_of
    from guildnet_cli.talos.health import await_nodes, talos_health

    cluster, limit = open_cluster(repo, org), timedelta(seconds=timeout)
    talos_health(cluster, limit, say_changes())
    expected = len(cluster.spec.machines)
    nodes = await_nodes(cluster_of(find_org_in(repo, org)), expected, limit, say_changes())
    rows = [(node.name, "Ready", node.version) for node in nodes]
    data = [{"node": node.name, "ready": node.ready, "version": node.version} for node in nodes]
    emit(data, output, lambda: table(("NODE", "STATE", "VERSION"), rows))


@talos_app.command(epilog=examples("guildnet talos upgrade-k8s acme"))
def upgrade_k8s(
    org: OrgArgument, *, repo: CheckoutOption = Path(), output: FormatOption = Format.TEXT
) -> None:
    """Upgrade Kubernetes to the version that git names.

    Raise spec.talos.kubernetesVersion, run this, and commit the change: the upgrade edits the
    machines' configurations, and git's older version would be a downgrade.
    """
    from guildnet_cli.cluster.org_cluster import cluster_of
    from guildnet_cli.talos.upgrade import upgrade_kubernetes

    found = find_org_in(repo, org)
    with alone(org):
        cluster = open_cluster(repo, org)
        # A machine must accept the version before anything is changed.
        results = comparing.compare(cluster, cluster.spec.control_planes[:1])
        if any(each.error for each in results):
            raise next(each.error for each in results if each.error)
        done = upgrade_kubernetes(cluster, cluster_of(found), say_changes())
    data = {"before": list(done.before), "after": done.after, "upgraded": done.upgraded}
    emit(data, output, lambda: f"Kubernetes {done.after}")
    say("upgraded" if done.upgraded else "nothing to do")


@talos_app.command(
    epilog=examples("guildnet talos certs acme", "guildnet talos certs acme --check")
)
def certs(
    org: OrgArgument,
    *,
    check: Annotated[bool, typer.Option("--check", help="Renew nothing.")] = False,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Show when certificates end; renew this machine's own.

    Exits with 1 when one that ends within 30 days was not renewed.
    """
    from guildnet_cli.talos import certs as listing
    from guildnet_cli.talos.kubeconfig import ensure_kubeconfig

    found, renewed = find_org_in(repo, org), []
    spec = find_spec(repo, org)
    with alone(org) as state:
        if check:
            cluster = TalosCluster.stored(spec, WorkTreeFiles(repo), state, age_identity())
        else:
            before = state.talosconfig.read_bytes() if state.talosconfig.is_file() else b""
            cluster = open_cluster(repo, org)
            if state.talosconfig.read_bytes() != before:
                renewed.append("talosconfig")
            is_stored = kubeconfig_path(found.cluster.kubeconfig).is_file()
            if is_stored and ensure_kubeconfig(cluster, found).fetched:
                renewed.append("kubeconfig")
        ends = list(listing.certificates(cluster, found))
    emit(listing.to_json(ends, renewed), output, lambda: listing.to_text(ends, renewed))
    raise typer.Exit(1 if any(each.ends_soon(datetime.now(UTC)) for each in ends) else 0)


@contextmanager
def _errors_as(code: int) -> Iterator[None]:
    """End with `code` on an error. `diff` ends with 1 for a difference, as diff(1) does."""
    try:
        yield
    except GuildNetError as error:
        say(describe(error))
        raise typer.Exit(code) from error
