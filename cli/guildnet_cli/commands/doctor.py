"""`guildnet doctor`: check what an org's cluster needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet.resources import org_path
from guildnet_cli.options import ClusterOptions, options
from guildnet_cli.output import Format, FormatOption, emit, examples

if TYPE_CHECKING:
    from guildnet_cli.cluster.checks import CheckResult


def register(app: typer.Typer) -> None:
    app.command(epilog=examples("guildnet doctor acme", "guildnet doctor -o json"))(doctor)


@options(cluster=ClusterOptions)
def doctor(
    org: Annotated[
        str | None,
        typer.Argument(metavar="ORG", help="The org. Default: all with a stored kubeconfig."),
    ] = None,
    *,
    output: FormatOption = Format.TEXT,
    cluster: ClusterOptions,
) -> None:
    """Check an org's cluster and say how to fix each fault.

    Exits with 1 when a check fails.
    """
    import asyncio

    from guildnet.state_folder import stored_kubeconfigs
    from guildnet_cli.cluster import checks

    names = [org] if org else stored_kubeconfigs()
    results = asyncio.run(checks.check_all([cluster.of(name) for name in names]))
    for name in names:
        results[name] += _of_machines(name, cluster.repo)
    emit(checks.to_json(results), output, lambda: checks.to_text(results))
    failed = any(not result.good for found in results.values() for result in found)
    raise typer.Exit(1 if failed or not names else 0)


def _of_machines(name: str, repo: str | None) -> list[CheckResult]:
    """The checks of the org's Talos machines, whose patches lie in a checkout; none without one."""
    from guildnet.git.checkout import Checkout
    from guildnet.work_tree import WorkTree
    from guildnet_cli.repository.resources import find_org

    root = Path(repo) if repo is not None else Checkout(Path.cwd()).top_level() or Path()
    if WorkTree(root).kind(org_path(name)) != "file":
        return []
    org = find_org(name, str(root))
    if org is None or "talos" not in org.spec:
        return []
    from guildnet_cli.talos.checks import talos_checks

    return talos_checks(root, org)
