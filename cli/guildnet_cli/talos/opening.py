"""An org's Talos cluster, found from the checkout that a verb runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import typer

from guildnet.age_files import age_identity
from guildnet.errors import ConfigurationError
from guildnet.loading import load_org
from guildnet.resources import Org, Source, org_path
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.files import WorkTreeFiles
from guildnet.talos.spec import Machine, TalosSpec, talos_of
from guildnet.talos.state import TalosState
from guildnet_cli.output import say
from guildnet_cli.repository.resources import read_resource

LOCK_WAIT = timedelta(minutes=10)
"""How long a verb waits for another one of the same org: an upgrade takes minutes."""


def find_org_in(repo: Path, name: str) -> Org:
    """The org of a checkout. Raises ConfigurationError or InvalidResource."""
    path = org_path(name)
    return load_org(read_resource(repo, path), Source(path))


def find_spec(repo: Path, org: str) -> TalosSpec:
    """The Talos cluster of an org of a checkout. Raises ConfigurationError for an org that has
    none, and where its file is missing or invalid."""
    spec = talos_of(find_org_in(repo, org))
    if spec is None:
        raise ConfigurationError(
            f"org {org} has no Talos machines",
            place=org_path(org),
            cure="Describe them in spec.talos, or let `guildnet org create` do it.",
        )
    return spec


def open_cluster(repo: Path, org: str) -> TalosCluster:
    """The org's cluster, whose secrets exist."""
    spec = find_spec(repo, org)
    return TalosCluster.open(spec, WorkTreeFiles(repo), TalosState.of(org), age_identity())


@contextmanager
def alone(org: str) -> Iterator[TalosState]:
    """The org's folder, held for one verb; says so while another one works on it."""
    state = TalosState.of(org)
    with state.locked(LOCK_WAIT, lambda holder: say(f"waiting: {holder}")):
        yield state


def chosen(spec: TalosSpec, nodes: list[str] | None) -> tuple[Machine, ...]:
    """The machines that `--node` names; all of them without it."""
    found = [spec.machine(address) for address in nodes or ()]
    for address, machine in zip(nodes or (), found, strict=True):
        if machine is None:
            known = ", ".join(each.address for each in spec.machines)
            raise typer.BadParameter(f"{address!r} is not a machine of {spec.org} ({known})")
    return tuple(machine for machine in found if machine) if nodes else spec.machines
