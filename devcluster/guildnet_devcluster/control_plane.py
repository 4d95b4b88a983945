"""etcd, the API server, the controller manager and the scheduler, as processes of this machine."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError

from . import components, processes
from .kube_client import KubeClient
from .layout import ClusterRecord, Layout
from .pki import Authority, KeyPair, kubeconfig, write_private
from .processes import Process
from .progress import Progress

SERVICE_NETWORK = "10.96.0.0/16"
_SERVICE_ADDRESS = "10.96.0.1"
#: Below the ephemeral ports that the kernel uses for outgoing connections.
_PORTS = range(20000, 30000)
_LOOPBACK = "127.0.0.1"
#: Long enough for a machine that compiles or starts several clusters at the same time.
_READY_TIMEOUT = timedelta(seconds=180)


@dataclass(frozen=True, slots=True)
class Programs:
    """The folders of the compiled programs."""

    kubernetes: Path
    etcd: Path

    @classmethod
    def ensure(cls, progress: Progress) -> Programs:
        etcd = components.ensure("etcd", progress)
        return cls(components.ensure("kubernetes", progress), etcd)


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports that are free now."""
    found: list[int] = []
    for port in random.sample(_PORTS, 500):
        with socket.socket() as probe:
            try:
                # On all addresses: with a node, the API server does not listen on loopback.
                probe.bind(("", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ConfigurationError(
        "no free TCP ports",
        place=f"{_PORTS.start}-{_PORTS.stop - 1}",
        cure="Stop other clusters with `guildnet devcluster down`.",
    )


def is_free(port: int) -> bool:
    """Whether no program listens on TCP port `port` of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def start(
    layout: Layout, record: ClusterRecord, address: str, programs: Programs, authority: Authority
) -> None:
    """Start the control plane with the API server on `address`, and wait until it is ready.

    Writes the administrator's kubeconfig. Raises GuildNetError if it does not become ready.
    """
    server = f"https://{address}:{record.api_port}"
    admin = authority.issue("admin", "admin", ["system:masters"])
    write_private(layout.kubeconfig, kubeconfig(authority, admin, server, layout.name))
    started = [_start_etcd(layout, record, programs, authority)]
    started.append(_start_api_server(layout, record, address, programs, authority))
    api = KubeClient(layout.kubeconfig)
    ready = _READY_TIMEOUT
    processes.wait_for("answer from the API server", api.is_ready, layout, started, ready)
    started.append(_start_controller_manager(layout, programs, authority, server))
    started.append(_start_scheduler(layout, programs, authority, server))
    # Pods cannot be created before the service account they run as exists.
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    processes.wait_for(
        "default service account", lambda: api.exists(account), layout, started, ready
    )


def component_kubeconfig(
    layout: Layout, authority: Authority, server: str, name: str, user: tuple[str, list[str]]
) -> Path:
    """Write a kubeconfig for a Kubernetes program as `user` (name, groups); return its path."""
    pair = authority.issue(name, *user)
    file = layout.pki / f"{name}.kubeconfig"
    write_private(file, kubeconfig(authority, pair, server, name))
    return file


def _start_etcd(
    layout: Layout, record: ClusterRecord, programs: Programs, authority: Authority
) -> Process:
    layout.etcd.mkdir(parents=True, exist_ok=True, mode=0o700)
    pair = authority.issue("etcd", "etcd", names=["localhost", _LOOPBACK])
    client, peer = (
        f"https://{_LOOPBACK}:{port}" for port in (record.etcd_port, record.etcd_peer_port)
    )
    tls = [
        f"--{side}{flag}"
        for side in ("", "peer-")
        for flag in (
            f"cert-file={pair.certificate}",
            f"key-file={pair.key}",
            f"trusted-ca-file={authority.own.certificate}",
            "client-cert-auth=true",
        )
    ]
    flags = [
        f"--name={layout.name}",
        f"--data-dir={layout.etcd}",
        # A disposable cluster may lose its last writes in a power failure.
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={layout.name}={peer}",
        "--log-level=warn",
    ]
    return processes.start(layout, "etcd", [str(programs.etcd / "etcd"), *flags, *tls])


def _start_api_server(
    layout: Layout, record: ClusterRecord, address: str, programs: Programs, authority: Authority
) -> Process:
    own_names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    own_names += ["kubernetes.default.svc.cluster.local", _LOOPBACK, _SERVICE_ADDRESS, address]
    serving = authority.issue("apiserver", "kube-apiserver", names=own_names)
    kubelets = authority.issue("apiserver-kubelet", "kube-apiserver", ["system:masters"])
    store = authority.issue("apiserver-etcd", "kube-apiserver")
    tokens = authority.signing_key("service-accounts")
    flags = [
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={record.api_port}",
        *_pair("--tls-cert-file", "--tls-private-key-file", serving),
        f"--client-ca-file={authority.own.certificate}",
        f"--etcd-servers=https://{_LOOPBACK}:{record.etcd_port}",
        f"--etcd-cafile={authority.own.certificate}",
        *_pair("--etcd-certfile", "--etcd-keyfile", store),
        *_pair("--kubelet-client-certificate", "--kubelet-client-key", kubelets),
        # The node's name cannot be resolved.
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={tokens.certificate}",
        f"--service-account-signing-key-file={tokens.key}",
        "--allow-privileged=true",
        # No load balancer needs time to notice the shutdown.
        "--shutdown-delay-duration=0s",
    ]
    if address == _LOOPBACK:
        # Endpoints must not be loopback addresses, and without pods nothing uses this Service.
        flags.append("--endpoint-reconciler-type=none")
    return processes.start(
        layout, "kube-apiserver", [str(programs.kubernetes / "kube-apiserver"), *flags]
    )


def _start_controller_manager(
    layout: Layout, programs: Programs, authority: Authority, server: str
) -> Process:
    name = "kube-controller-manager"
    config = component_kubeconfig(layout, authority, server, name, (f"system:{name}", []))
    flags = [
        f"--kubeconfig={config}",
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials",
        # With the default limit its controllers take five seconds to start one after another.
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        f"--service-account-private-key-file={authority.signing_key('service-accounts').key}",
        f"--root-ca-file={authority.own.certificate}",
        *_pair("--cluster-signing-cert-file", "--cluster-signing-key-file", authority.own),
    ]
    return processes.start(layout, name, [str(programs.kubernetes / name), *flags])


def _start_scheduler(
    layout: Layout, programs: Programs, authority: Authority, server: str
) -> Process:
    name = "kube-scheduler"
    config = component_kubeconfig(layout, authority, server, name, (f"system:{name}", []))
    flags = [f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0"]
    return processes.start(layout, name, [str(programs.kubernetes / name), *flags])


def _pair(certificate: str, key: str, pair: KeyPair) -> list[str]:
    return [f"{certificate}={pair.certificate}", f"{key}={pair.key}"]
