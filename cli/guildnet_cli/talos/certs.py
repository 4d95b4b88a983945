"""`guildnet talos certs`: when each certificate ends, and renewing those that people must renew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from guildnet.resources import Org
from guildnet.state_folder import kubeconfig_path
from guildnet.talos.certificates import Certificate, end_of, talosconfig_credentials
from guildnet.talos.cluster import TalosCluster
from guildnet_cli.output import table
from guildnet_cli.talos.kubeconfig import stored_end

_AUTHORITIES = {
    "os": "authority of Talos' API",
    "k8s": "authority of Kubernetes",
    "etcd": "authority of etcd",
    "k8saggregator": "authority of Kubernetes' aggregation layer",
}


def certificates(cluster: TalosCluster, org: Org) -> Iterator[Certificate]:
    """The certificates that do not renew themselves. Servers' and kubelets' do; those of this
    machine are renewed by `certs`, authorities by a rotation. Raises ConfigurationError."""
    state, renew = cluster.state, f"guildnet talos certs {org.name}"
    found = talosconfig_credentials(state.talosconfig.read_bytes(), str(state.talosconfig))
    if found.certificate is not None:
        end = end_of(found.certificate, str(state.talosconfig))
        yield Certificate("talosconfig", end, renew)
    path = kubeconfig_path(org.cluster.kubeconfig)
    if path.is_file():
        kube_end = stored_end(path)
        if kube_end is not None:
            yield Certificate("kubeconfig", kube_end, renew)
    for name, subject in _AUTHORITIES.items():
        yield Certificate(
            subject, end_of(cluster.bundle.authorities[name], name), "talosctl rotate-ca"
        )


def to_json(found: Sequence[Certificate], renewed: Sequence[str]) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [
        {
            "certificate": each.name,
            "end": each.end.isoformat(),
            "daysLeft": (each.end - now).days,
            "renewed": each.name in renewed,
            "renewedBy": each.renewed_by,
        }
        for each in found
    ]


def to_text(found: Sequence[Certificate], renewed: Sequence[str]) -> str:
    now = datetime.now(UTC)
    rows = [
        (
            each.name,
            f"{each.end:%Y-%m-%d}",
            f"{(each.end - now).days}",
            "renewed" if each.name in renewed else "ENDS SOON" if each.ends_soon(now) else "ok",
            each.renewed_by,
        )
        for each in found
    ]
    return table(("CERTIFICATE", "ENDS", "DAYS", "STATE", "RENEWED BY"), rows)
