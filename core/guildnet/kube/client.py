"""A client of one API server. Every call has a deadline and maps every error.

Raises KubeUnavailable (no answer, 429, 5xx), KubeNotFound, KubeConflict, KubeGone,
KubeForbidden (401, 403), KubeInvalid (400, 413, 422), or KubeError for anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType

from guildnet.errors import KubeConflict
from guildnet.kube.answers import JsonObject
from guildnet.kube.fence import Fence
from guildnet.kube.kinds import NAMESPACES
from guildnet.kube.pods import PodCalls
from guildnet.kube.reading import ReadCalls
from guildnet.kube.transport import RequestHook, Transport
from guildnet.kube.writing import WriteCalls
from guildnet.redact import Redactor


class KubeClient(ReadCalls, WriteCalls, PodCalls):
    """A client of one API server; an async context manager that closes its connections."""

    # Import kubernetes.aio only when connecting: it loads the whole synchronous client, which
    # takes half a second.

    @classmethod
    def from_kubeconfig(
        cls,
        path: Path,
        *,
        context: str | None = None,
        namespace: str | None = None,
        on_request: RequestHook | None = None,
    ) -> KubeClient:
        """A client from a kubeconfig file. Exec plugins, auth providers and references to other
        files raise ConfigurationError (I9)."""
        from guildnet.kube.kubeconfig import from_kubeconfig

        connection = from_kubeconfig(path, context, namespace)
        return cls(Transport(connection, on_request), connection.namespace)

    @classmethod
    def from_incluster(
        cls, *, namespace: str | None = None, on_request: RequestHook | None = None
    ) -> KubeClient:
        """A client from the pod's service account; ConfigurationError outside a cluster."""
        from guildnet.kube.kubeconfig import from_incluster

        connection = from_incluster(namespace)
        return cls(Transport(connection, on_request), connection.namespace)

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._transport.server

    @property
    def credential_ends(self) -> datetime | None:
        """When the first of its certificates and its token expires, if anything says so."""
        return self._transport.credential_ends

    @property
    def redact(self) -> Redactor:
        """Masks this client's credentials in text."""
        return self._transport.redact

    async def __aenter__(self) -> KubeClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, which fenced views of this client share."""
        await self._transport.close()

    def fenced_by(self, fence: Fence) -> KubeClient:
        """A client on the same connections whose writes start only while `fence.held`."""
        return KubeClient(self._transport, self.namespace, fence)

    async def ensure_namespace(self, name: str, labels: Mapping[str, str]) -> JsonObject:
        """The namespace; created with `labels` if it is missing, otherwise left unchanged."""
        found = await self.find(NAMESPACES, name)
        if found is not None:
            return found
        metadata = {"name": name, "labels": dict(labels)}
        try:
            return await self.create(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            )
        except KubeConflict:
            return await self.get(NAMESPACES, name)
