"""What all API calls share: the object's path, the fence of writes, JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from guildnet.errors import KubeInvalid
from guildnet.kube.answers import JsonObject, checked_object, parsed
from guildnet.kube.fence import Fence
from guildnet.kube.kinds import ResourceKind, kind_of
from guildnet.kube.transport import DEFAULT_TIMEOUT, Request, Transport, where_of

JSON = "application/json"


class Calls:
    """The base of a client's calls; the calls themselves are in its subclasses.

    `place` names the cluster in errors; `namespace` is the default of calls that name none. If a
    fence is given and not held, writes raise KubeUnavailable with reason `LeaseNotHeld`.
    """

    def __init__(self, transport: Transport, namespace: str, fence: Fence | None = None) -> None:
        self._transport = transport
        self._fence = fence
        self.namespace = namespace
        self.place = transport.place

    async def _write_object(
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
        """Write an object and return its new state."""
        answer = await self._write(
            verb, method, path, what, body=body, content_type=content_type, timeout=timeout
        )
        return checked_object(answer, f"{self.place}: {verb} {what}")

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
        try:
            data = json.dumps(body, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            place = f"{self.place}: {verb} {what}"
            raise KubeInvalid("the object cannot be encoded as JSON", place=place) from error
        headers = {"Content-Type": content_type}
        request = Request(
            verb, method, path, what, body=data, headers=headers, timeout=timeout, fence=self._fence
        )
        return await self._json(request)

    async def _json(self, request: Request) -> JsonObject:
        body = await self._transport.call(request)
        return parsed(body, where_of(self.place, request))

    async def _object(self, request: Request) -> JsonObject:
        """Send a request for one object and return the object."""
        return checked_object(await self._json(request), where_of(self.place, request))

    def _address(self, obj: Mapping[str, Any], subresource: str) -> tuple[str, str]:
        """The path of `obj`, and how errors name it."""
        kind = kind_of(obj)
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
        path = kind.path(self._in(kind, namespace), name) + below(subresource)
        return path, self._what(kind, name, namespace)

    def _in(self, kind: ResourceKind, namespace: str | None) -> str | None:
        if not kind.namespaced:
            return None
        return self.namespace if namespace is None else namespace

    def _what(self, kind: ResourceKind, name: str, namespace: str | None) -> str:
        parts = (kind.plural, self._in(kind, namespace), name)
        return "/".join(part for part in parts if part)


def below(subresource: str) -> str:
    """The path suffix of a subresource; "" for the object itself."""
    return f"/{subresource}" if subresource else ""
