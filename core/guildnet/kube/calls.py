"""What every call to an API server is made of: its address, the fence, JSON both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from guildnet.errors import KubeError
from guildnet.kube.fence import Fence
from guildnet.kube.kinds import ResourceKind, kind_of
from guildnet.kube.transport import DEFAULT_TIMEOUT, Request, Transport

JsonObject = dict[str, Any]

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
        headers = {"Content-Type": content_type}
        request = Request(
            verb, method, path, what, body=data, headers=headers, timeout=timeout, fence=self._fence
        )
        return await self._json(request)

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
