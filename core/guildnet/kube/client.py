"""One cluster's API: objects in, objects out, every call with a deadline, every error mapped.

Raises KubeUnavailable (no answer, 429, 5xx), KubeNotFound, KubeConflict, KubeGone,
KubeForbidden (401, 403), KubeInvalid (400, 422), or KubeError for anything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from guildnet.kube.kinds import ResourceKind

JsonObject = dict[str, Any]
RequestHook = Callable[[str, int], None]
"""Told of every request: its verb (get, list, watch, apply, ...) and status (0: no answer)."""


class Fence(Protocol):
    """What must hold for a write to start; a Lease is one."""

    @property
    def held(self) -> bool: ...


class KubeClient:
    """A client of one API server; an async context manager that closes its connections.

    `place` names the cluster in errors (its context or host). Writes raise KubeUnavailable with
    reason `LeaseNotHeld` when the client is fenced and its fence is not held.
    """

    place: str
    namespace: str
    """The namespace used where a call names none: the context's, or the pod's own."""

    @classmethod
    def from_kubeconfig(
        cls,
        path: Path,
        *,
        context: str | None = None,
        namespace: str | None = None,
        on_request: RequestHook | None = None,
    ) -> KubeClient:
        """A client by a kubeconfig file, which may hold data only: exec plugins, auth providers
        and references to other files are refused with ConfigurationError (I9)."""
        raise NotImplementedError

    @classmethod
    def from_incluster(cls, *, on_request: RequestHook | None = None) -> KubeClient:
        """A client by the pod's service account; ConfigurationError outside a cluster."""
        raise NotImplementedError

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
        raise NotImplementedError

    def fenced_by(self, fence: Fence) -> KubeClient:
        """The same client, whose writes start only while `fence.held`; connections are shared."""
        raise NotImplementedError

    # --- reading ----------------------------------------------------------------------------

    async def get(
        self, kind: ResourceKind, name: str, namespace: str | None = None,
        *, timeout: timedelta | None = None,
    ) -> JsonObject:
        raise NotImplementedError

    async def find(
        self, kind: ResourceKind, name: str, namespace: str | None = None
    ) -> JsonObject | None:
        """The object, or None where there is no such object. A missing kind is KubeNotFound."""
        raise NotImplementedError

    def list_pages(
        self,
        kind: ResourceKind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = 500,
    ) -> AsyncIterator[JsonObject]:
        """The raw list answers, page by page (`items`, `metadata.resourceVersion`).

        `namespace` "" is all namespaces. Raises KubeGone when the list expired half way.
        """
        raise NotImplementedError

    async def list_all(
        self, kind: ResourceKind, namespace: str | None = None,
        *, label_selector: str = "", field_selector: str = "",
    ) -> list[JsonObject]:
        """All objects; for small collections."""
        raise NotImplementedError

    # --- writing ----------------------------------------------------------------------------

    async def apply(
        self, obj: Mapping[str, Any], *, field_manager: str, force: bool = True,
        subresource: str = "", dry_run: bool = False,
    ) -> JsonObject:
        """Server-side apply with strict field validation; the object as it is afterwards."""
        raise NotImplementedError

    async def create(
        self, obj: Mapping[str, Any], *, field_manager: str = ""
    ) -> JsonObject:
        raise NotImplementedError

    async def replace(
        self, obj: Mapping[str, Any], *, subresource: str = "", timeout: timedelta | None = None,
    ) -> JsonObject:
        """PUT; with metadata.resourceVersion in it, KubeConflict when the object changed since."""
        raise NotImplementedError

    async def patch(
        self,
        kind: ResourceKind,
        name: str,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str = "",
        field_manager: str = "",
    ) -> JsonObject:
        """A JSON merge patch (a mapping) or a JSON patch (a list of operations)."""
        raise NotImplementedError

    async def delete(
        self,
        kind: ResourceKind,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """KubeConflict when `uid` or `resource_version` is not the object's any more."""
        raise NotImplementedError

    async def ensure_namespace(self, name: str, labels: Mapping[str, str]) -> JsonObject:
        """The namespace, created with `labels` when there is none; an existing one is left."""
        raise NotImplementedError

    async def create_event(
        self,
        involved: Mapping[str, Any],
        *,
        reason: str,
        message: str,
        component: str,
        warning: bool = False,
    ) -> None:
        """A Kubernetes Event on an object (apiVersion, kind, metadata.{name,namespace,uid})."""
        raise NotImplementedError

    # --- pods -------------------------------------------------------------------------------

    async def proxy_request(
        self,
        pod: str,
        port: int,
        method: str,
        path: str,
        *,
        namespace: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: timedelta = timedelta(seconds=5),
        max_bytes: int = 64 * 1024,
    ) -> tuple[int, dict[str, str], bytes]:
        """An HTTP request to a pod through the API server: (status, headers, body).

        `path` begins with "/" and may carry a query. Header names come back in lower case.
        Redirects are not followed. The API server's own refusals are raised as Kube errors;
        an answer larger than `max_bytes` is KubeError with reason `TooLarge`.
        """
        raise NotImplementedError

    async def pod_log(
        self, pod: str, *, container: str, namespace: str | None = None,
        tail_lines: int | None = None, max_bytes: int = 64 * 1024, previous: bool = False,
    ) -> bytes:
        """The last `tail_lines` of a container's log, at most `max_bytes`."""
        raise NotImplementedError

    def follow_pod_log(
        self, pod: str, *, container: str, namespace: str | None = None,
        tail_lines: int | None = None,
    ) -> AsyncIterator[bytes]:
        """A container's log as it is written, in pieces, until the container ends."""
        raise NotImplementedError

    # --- the server -------------------------------------------------------------------------

    async def version(self) -> str:
        """The API server's version, such as `v1.37.2`."""
        raise NotImplementedError

    def watch_lines(
        self, kind: ResourceKind, namespace: str | None, query: Mapping[str, str],
        *, idle_timeout: timedelta,
    ) -> AsyncIterator[bytes]:
        """The raw lines of one watch request, until the server ends it; for `guildnet.kube.watch`.

        KubeUnavailable when no byte came for `idle_timeout`.
        """
        raise NotImplementedError
