"""One cluster's API: objects in, objects out, every call with a deadline, every error mapped.

Raises KubeUnavailable (no answer, 429, 5xx), KubeNotFound, KubeConflict, KubeGone,
KubeForbidden (401, 403), KubeInvalid (400, 413, 422), or KubeError for anything else.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol
from urllib.parse import urlencode

from guildnet.errors import KubeConflict, KubeError, KubeNotFound, KubeUnavailable
from guildnet.kube import kubeconfig
from guildnet.kube.events import event_on
from guildnet.kube.kinds import EVENTS, NAMESPACES, ResourceKind, kind_of
from guildnet.kube.pods import PodCalls
from guildnet.kube.transport import DEFAULT_TIMEOUT, Request, RequestHook, Transport

JsonObject = dict[str, Any]

APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
JSON = "application/json"
# A write that began while the fence held must be over before another holder may begin.
FENCE_GRACE = timedelta(seconds=4)


class Fence(Protocol):
    """What must hold for a write to start; a Lease is one."""

    @property
    def held(self) -> bool:
        """Whether a write may start now."""
        ...

    @property
    def remaining(self) -> timedelta:
        """How long it will hold without being renewed."""
        ...


class KubeClient(PodCalls):
    """A client of one API server; an async context manager that closes its connections.

    `place` names the cluster in errors, `namespace` is used where a call names none. Writes of a
    fenced client raise KubeUnavailable with reason `LeaseNotHeld` while its fence is not held.
    Where a call takes `namespace`, None is the client's own.
    """

    def __init__(self, transport: Transport, namespace: str, fence: Fence | None = None) -> None:
        super().__init__(transport, namespace)
        self.place = transport.place
        self._fence = fence

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
        connection = kubeconfig.from_kubeconfig(path, context, namespace)
        return cls(Transport(connection, on_request), connection.namespace)

    @classmethod
    def from_incluster(
        cls, *, namespace: str | None = None, on_request: RequestHook | None = None
    ) -> KubeClient:
        """A client by the pod's service account; ConfigurationError outside a cluster."""
        connection = kubeconfig.from_incluster()
        return cls(Transport(connection, on_request), namespace or connection.namespace)

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
        """Close the connections; also those of every fenced view of this client."""
        await self._transport.close()

    def fenced_by(self, fence: Fence) -> KubeClient:
        """The same client, whose writes start only while `fence.held`; connections are shared."""
        return KubeClient(self._transport, self.namespace, fence)

    # --- reading ----------------------------------------------------------------------------

    async def get(
        self,
        kind: ResourceKind,
        name: str,
        namespace: str | None = None,
        *,
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> JsonObject:
        """The object; KubeNotFound when there is none."""
        path = kind.path(self._in(kind, namespace), name)
        what = self._what(kind, name, namespace)
        return await self._json(Request("get", "GET", path, what, timeout=timeout))

    async def find(
        self, kind: ResourceKind, name: str, namespace: str | None = None
    ) -> JsonObject | None:
        """The object, or None where there is no such object. A missing kind is KubeNotFound."""
        try:
            return await self.get(kind, name, namespace)
        except KubeNotFound as error:
            if f'"{name}"' in error.message:
                return None
            raise

    async def list_pages(
        self,
        kind: ResourceKind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = 500,
    ) -> AsyncIterator[JsonObject]:
        """The raw list answers, page by page (`items`, `metadata.resourceVersion`).

        `namespace` "" is all namespaces. Items lack apiVersion and kind. Raises KubeGone when the
        list expired half way.
        """
        path = kind.path(self._in(kind, namespace))
        query = {"limit": str(page_size), **_selectors(label_selector, field_selector)}
        while True:
            what = self._what(kind, "", namespace)
            page = await self._json(Request("list", "GET", f"{path}?{urlencode(query)}", what))
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def list_all(
        self,
        kind: ResourceKind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[JsonObject]:
        """All objects, with apiVersion and kind; for small collections."""
        pages = self.list_pages(
            kind, namespace, label_selector=label_selector, field_selector=field_selector
        )
        identity = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [{**identity, **item} async for page in pages for item in page.get("items") or []]

    # --- writing ----------------------------------------------------------------------------

    async def apply(
        self,
        obj: Mapping[str, Any],
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> JsonObject:
        """Server-side apply with strict field validation; the object as it is afterwards.

        Without `force`, KubeConflict names the other managers and their fields.
        """
        query = _apply_query(field_manager, force, dry_run)
        path, what = self._address(obj, subresource)
        return await self._write(
            "apply",
            "PATCH",
            f"{path}?{query}",
            what,
            body=obj,
            content_type=APPLY,
            timeout=timeout,
        )

    async def create(self, obj: Mapping[str, Any], *, field_manager: str = "") -> JsonObject:
        """POST; KubeConflict (reason AlreadyExists) when there is one of that name."""
        kind = kind_of(obj)
        metadata = obj["metadata"]
        path = kind.path(self._in(kind, metadata.get("namespace")))
        what = self._what(kind, str(metadata.get("name", "")), metadata.get("namespace"))
        query = urlencode({"fieldValidation": "Strict"} | _manager(field_manager))
        return await self._write("create", "POST", f"{path}?{query}", what, body=obj)

    async def replace(
        self,
        obj: Mapping[str, Any],
        *,
        subresource: str = "",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> JsonObject:
        """PUT; with metadata.resourceVersion in it, KubeConflict when the object changed since."""
        path, what = self._address(obj, subresource)
        return await self._write("update", "PUT", path, what, body=obj, timeout=timeout)

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
        path = kind.path(self._in(kind, namespace), name) + _below(subresource)
        query = urlencode({"fieldValidation": "Strict"} | _manager(field_manager))
        what = self._what(kind, name, namespace)
        content_type = MERGE_PATCH if isinstance(patch, Mapping) else JSON_PATCH
        return await self._write(
            "patch", "PATCH", f"{path}?{query}", what, body=patch, content_type=content_type
        )

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
        """KubeConflict when `uid` or `resource_version` is not the object's any more;
        KubeNotFound when there is none."""
        given = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": {key: value for key, value in given.items() if value is not None},
        }
        path = kind.path(self._in(kind, namespace), name)
        what = self._what(kind, name, namespace)
        await self._write("delete", "DELETE", path, what, body=options)

    async def ensure_namespace(self, name: str, labels: Mapping[str, str]) -> JsonObject:
        """The namespace, created with `labels` when there is none; an existing one is left."""
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
        event = event_on(
            involved, reason=reason, message=message, component=component, warning=warning
        )
        path = EVENTS.path(event["metadata"]["namespace"])
        await self._write("create", "POST", path, f"event {reason}", body=event)

    # --- the server -------------------------------------------------------------------------

    async def version(self, *, timeout: timedelta = DEFAULT_TIMEOUT) -> str:
        """The API server's version, such as `v1.37.2`."""
        answer = await self._json(Request("get", "GET", "/version", "version", timeout=timeout))
        return str(answer.get("gitVersion", ""))

    def watch_bytes(
        self,
        kind: ResourceKind,
        namespace: str | None,
        query: Mapping[str, str],
        *,
        idle_timeout: timedelta,
    ) -> AsyncIterator[bytes]:
        """The bytes of one watch request until the server ends it; for `guildnet.kube.watch`.

        The first piece is empty: the server has taken the request. KubeUnavailable when no byte
        came for `idle_timeout`.
        """
        path = f"{kind.path(self._in(kind, namespace))}?{urlencode({'watch': 'true', **query})}"
        what = self._what(kind, "", namespace)
        return self._transport.stream(Request("watch", "GET", path, what), idle_timeout)

    # --- requests ---------------------------------------------------------------------------

    async def _write(
        self,
        verb: str,
        method: str,
        path: str,
        what: str,
        *,
        body: Mapping[str, Any] | Sequence[Any],
        content_type: str = JSON,
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> JsonObject:
        data = json.dumps(body, separators=(",", ":")).encode()
        if self._fence is not None:
            if not self._fence.held:
                raise KubeUnavailable(
                    "the Lease is not held: another may be writing",
                    place=f"{self.place}: {verb} {what}",
                    reason="LeaseNotHeld",
                )
            timeout = min(timeout, self._fence.remaining + FENCE_GRACE)
        headers = {"Content-Type": content_type}
        return await self._json(
            Request(verb, method, path, what, body=data, headers=headers, timeout=timeout)
        )

    async def _json(self, request: Request) -> JsonObject:
        body = await self._transport.call(request)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._no_object(request) from error
        if not isinstance(value, dict):
            raise self._no_object(request)
        return value

    def _no_object(self, request: Request) -> KubeError:
        return KubeError("the answer is no JSON object", place=f"{self.place}: {request.what}")

    def _address(self, obj: Mapping[str, Any], subresource: str) -> tuple[str, str]:
        kind = kind_of(obj)
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
        path = kind.path(self._in(kind, namespace), name) + _below(subresource)
        return path, self._what(kind, name, namespace)

    def _in(self, kind: ResourceKind, namespace: str | None) -> str | None:
        if not kind.namespaced:
            return None
        return self.namespace if namespace is None else namespace

    def _what(self, kind: ResourceKind, name: str, namespace: str | None) -> str:
        parts = (kind.plural, self._in(kind, namespace), name)
        return "/".join(part for part in parts if part)


def _below(subresource: str) -> str:
    return f"/{subresource}" if subresource else ""


@lru_cache(maxsize=64)
def _apply_query(field_manager: str, force: bool, dry_run: bool) -> str:
    query = {"fieldManager": field_manager, "fieldValidation": "Strict"}
    query |= {"force": "true"} if force else {}
    query |= {"dryRun": "All"} if dry_run else {}
    return urlencode(query)


def _manager(field_manager: str) -> dict[str, str]:
    return {"fieldManager": field_manager} if field_manager else {}


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in given.items() if value}
