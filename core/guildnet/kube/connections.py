"""Clients of one event loop that share connections and pace their requests.

Orgs that use the same server with the same credential share connections and certificates, because
an idle TLS connection costs 0.3 MiB. Orgs on the same server share its gate, even with different
credentials.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guildnet.kube.client import KubeClient
from guildnet.kube.link import Link
from guildnet.kube.pacing import Gates
from guildnet.kube.transport import Pace, RequestHook, Transport
from guildnet.loop_lag import LoopLag

if TYPE_CHECKING:
    from guildnet.kube.kubeconfig import Connection


@dataclass
class _Shared:
    connection: Connection
    link: Link


class Connections:
    """Makes clients, which must all be used on one event loop."""

    def __init__(self, gates: Gates, loop_lag: LoopLag) -> None:
        self.gates = gates
        self.loop_lag = loop_lag
        self._shared: dict[str, _Shared] = {}

    def client(
        self,
        path: Path | None,
        *,
        flow: str,
        context: str | None = None,
        namespace: str | None = None,
        on_request: RequestHook | None = None,
    ) -> KubeClient:
        """A client like that of `KubeClient.from_kubeconfig`, or without a `path` like that of
        `KubeClient.from_incluster`, whose requests take turns with those of other flows. The file
        is read on each call; a changed file gets new connections."""
        from guildnet.kube.kubeconfig import from_incluster, from_kubeconfig

        self._forget_unused()
        known = {key: shared.connection for key, shared in self._shared.items()}
        if path is None:
            connection = from_incluster(namespace)
        else:
            connection = from_kubeconfig(path, context, namespace, known)
        # No limit here: the gates bound requests in flight, and each watch keeps a connection open.
        connection.http.maxsize = 0
        shared = self._shared.setdefault(connection.key, _Shared(connection, Link(connection)))
        pace = Pace(self.gates, self.loop_lag, flow)
        transport = Transport(connection, on_request, link=shared.link, pace=pace)
        return KubeClient(transport, connection.namespace)

    def _forget_unused(self) -> None:
        for key in [key for key, shared in self._shared.items() if not shared.link.is_held]:
            del self._shared[key]
