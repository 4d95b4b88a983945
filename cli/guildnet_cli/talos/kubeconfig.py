"""The kubeconfig of an org's Talos cluster, in the store that all verbs and the reconciler use."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from guildnet.errors import ConfigurationError, TalosError
from guildnet.resources import Org
from guildnet.state_folder import kubeconfig_path
from guildnet.talos.certificates import RENEW_BEFORE, end_of, kubeconfig_credentials
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.talosctl import at_machine
from guildnet_cli.cluster.kubeconfigs import read_kubeconfig, store_kubeconfig

_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredKubeconfig:
    """Where it lies, when its certificate ends (None: it logs in by a token), whether it was
    fetched just now."""

    path: Path
    end: datetime | None
    fetched: bool


def ensure_kubeconfig(cluster: TalosCluster, org: Org, *, force: bool = False) -> StoredKubeconfig:
    """Fetch the kubeconfig where it is missing, ends within 30 days or names another endpoint.

    With `force`, also where none of that holds. Raises ConfigurationError where one of another
    cluster is stored and `force` is not given.
    """
    path = kubeconfig_path(org.cluster.kubeconfig)
    if not force and path.is_file():
        end, is_current = _judged(cluster, path)
        if is_current:
            return StoredKubeconfig(path, end, fetched=False)
    stored = _fetch(cluster, org)
    return StoredKubeconfig(stored, stored_end(stored), fetched=True)


def stored_end(path: Path) -> datetime | None:
    """When the client certificate of a stored kubeconfig ends; None where it has none."""
    certificate = kubeconfig_credentials(_read(path), str(path)).certificate
    return end_of(certificate, str(path)) if certificate is not None else None


def _judged(cluster: TalosCluster, path: Path) -> tuple[datetime | None, bool]:
    """When the stored one ends, and whether it can stay."""
    found = kubeconfig_credentials(_read(path), str(path))
    if found.authority is not None and _text(found.authority) != _text(
        cluster.bundle.authorities["k8s"]
    ):
        raise ConfigurationError(
            f"it is the kubeconfig of another cluster than {cluster.spec.org}'s Talos machines",
            place=str(path),
            cure="Check spec.cluster.kubeconfig; to replace it, give --force.",
        )
    is_ours = found.authority is not None and found.endpoints == (cluster.spec.endpoint,)
    if found.certificate is None:
        return None, is_ours
    end = end_of(found.certificate, str(path))
    return end, is_ours and end - datetime.now(UTC) > RENEW_BEFORE


def _text(pem: bytes) -> bytes:
    return b"".join(pem.split())


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise ConfigurationError(f"cannot read: {error.strerror}", place=str(path)) from error


def _fetch(cluster: TalosCluster, org: Org) -> Path:
    """Ask the control planes in turn; any of them can issue it."""
    failure: TalosError | None = None
    for machine in cluster.spec.control_planes:
        try:
            # To standard output, which is a pipe: no file lies anywhere in between.
            said = cluster.tool.run(
                "kubeconfig",
                "-",
                "--merge=false",
                *at_machine(machine.address),
                machine=machine.address,
            )
        except TalosError as error:
            failure = failure or error
            continue
        with tempfile.TemporaryDirectory(prefix="kubeconfig-", dir=cluster.tool.home) as scratch:
            file = Path(scratch) / "kubeconfig"
            cluster.state.write(file, said.encode())
            config = read_kubeconfig(
                file, context=org.cluster.context, namespace=org.cluster.namespace
            )
        return store_kubeconfig(org.cluster.kubeconfig, config)
    assert failure is not None  # a cluster has at least one control plane
    raise failure
