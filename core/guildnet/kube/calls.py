"""What every call to an API server is made of: its address, the fence, JSON both ways."""

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
    """The part of a client that its calls share; the calls themselves are in its subclasses.

    `place` names the cluster in errors, `namespace` is used where a call names none. Writes raise
    KubeUnavailable with reason `LeaseNotHeld` while a fence is given that is not held.
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
        """A write that is answered with the object as it is afterwards."""
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
            raise KubeInvalid("the object cannot be written as JSON", place=place) from error
        headers = {"Content-Type": content_type}
        request = Request(
            verb, method, path, what, body=data, headers=headers, timeout=timeout, fence=self._fence
        )
        return await self._json(request)

    async def _json(self, request: Request) -> JsonObject:
        body = await self._transport.call(request)
        return parsed(body, where_of(self.place, request))

    async def _object(self, request: Request) -> JsonObject:
        """The answer to a request for one object."""
        return checked_object(await self._json(request), where_of(self.place, request))

    def _address(self, obj: Mapping[str, Any], subresource: str) -> tuple[str, str]:
        """The path of an object that is given whole, and its name in errors."""
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
    """The end of a path: of a subresource, or (for "") of the object itself."""
    return f"/{subresource}" if subresource else ""
