"""Write calls: apply, create, replace, patch, delete, and Events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlencode

from guildnet.kube.answers import JsonObject
from guildnet.kube.calls import Calls, below
from guildnet.kube.events import event_on
from guildnet.kube.kinds import EVENTS, ResourceKind, kind_of
from guildnet.kube.transport import DEFAULT_TIMEOUT

APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class WriteCalls(Calls):
    """The calls of a client that write. If there is a fence, it must be held.

    `namespace` None means the client's namespace; a complete object names its own.
    """

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
        """Server-side apply with strict field validation; returns the object's new state.

        Without `force`, a KubeConflict names the other field managers and their fields.
        """
        query = _apply_query(field_manager, force, dry_run)
        path, what = self._address(obj, subresource)
        return await self._write_object(
            "apply",
            "PATCH",
            f"{path}?{query}",
            what,
            body=obj,
            content_type=APPLY,
            timeout=timeout,
        )

    async def create(
        self,
        obj: Mapping[str, Any],
        *,
        field_manager: str = "",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> JsonObject:
        """POST; KubeConflict (reason AlreadyExists) if the object exists."""
        kind = kind_of(obj)
        metadata = obj["metadata"]
        path = kind.path(self._in(kind, metadata.get("namespace")))
        what = self._what(kind, str(metadata.get("name", "")), metadata.get("namespace"))
        query = urlencode({"fieldValidation": "Strict"} | _manager(field_manager))
        return await self._write_object(
            "create", "POST", f"{path}?{query}", what, body=obj, timeout=timeout
        )

    async def replace(
        self,
        obj: Mapping[str, Any],
        *,
        subresource: str = "",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> JsonObject:
        """PUT; if metadata.resourceVersion is set, KubeConflict if the object has changed since."""
        path, what = self._address(obj, subresource)
        return await self._write_object("update", "PUT", path, what, body=obj, timeout=timeout)

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
        path = kind.path(self._in(kind, namespace), name) + below(subresource)
        query = urlencode({"fieldValidation": "Strict"} | _manager(field_manager))
        what = self._what(kind, name, namespace)
        content_type = MERGE_PATCH if isinstance(patch, Mapping) else JSON_PATCH
        return await self._write_object(
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
        """Raises KubeConflict if `uid` or `resource_version` is set and differs from the object's,
        and KubeNotFound if the object does not exist."""
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

    async def create_event(
        self,
        involved: Mapping[str, Any],
        *,
        reason: str,
        message: str,
        component: str,
        warning: bool = False,
    ) -> None:
        """Create a Kubernetes Event about `involved` (apiVersion, kind,
        metadata.{name,namespace,uid})."""
        event = event_on(
            involved, reason=reason, message=message, component=component, warning=warning
        )
        path = EVENTS.path(event["metadata"]["namespace"])
        await self._write("create", "POST", path, f"event {reason}", body=event)


@lru_cache(maxsize=64)
def _apply_query(field_manager: str, force: bool, dry_run: bool) -> str:
    query = {"fieldManager": field_manager, "fieldValidation": "Strict"}
    query |= {"force": "true"} if force else {}
    query |= {"dryRun": "All"} if dry_run else {}
    return urlencode(query)


def _manager(field_manager: str) -> dict[str, str]:
    return {"fieldManager": field_manager} if field_manager else {}
