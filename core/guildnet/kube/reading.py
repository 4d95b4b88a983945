"""Read calls: get, list page by page, watch, and the server's version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from urllib.parse import urlencode

from guildnet.errors import KubeNotFound
from guildnet.kube.answers import JsonObject, bad_answer, checked_page
from guildnet.kube.calls import Calls
from guildnet.kube.kinds import NODES, ResourceKind
from guildnet.kube.transport import DEFAULT_TIMEOUT, Request

MAX_LISTED = 50_000
"""The most objects in one list; an org has at most 10,000 tasks."""
MAX_PAGES = 1000
MAX_TOKEN_CHARS = 16 * 1024


class ReadCalls(Calls):
    """The calls of a client that only read. `namespace` None means the client's namespace."""

    async def get(
        self,
        kind: ResourceKind,
        name: str,
        namespace: str | None = None,
        *,
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> JsonObject:
        """The object; KubeNotFound if it does not exist."""
        path = kind.path(self._in(kind, namespace), name)
        what = self._what(kind, name, namespace)
        return await self._object(Request("get", "GET", path, what, timeout=timeout))

    async def find(
        self, kind: ResourceKind, name: str, namespace: str | None = None
    ) -> JsonObject | None:
        """The object, or None if it does not exist; KubeNotFound if its kind is not installed."""
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

        `namespace` "" means all namespaces. Items lack apiVersion and kind. Raises KubeGone if the
        list expired between pages, and KubeUnavailable with reason `BadAnswer` if a page is not a
        list, the pages do not end, or there are more than `MAX_LISTED` objects.
        """
        path = kind.path(self._in(kind, namespace))
        query = {"limit": str(page_size), **_selectors(label_selector, field_selector)}
        what = self._what(kind, "", namespace)
        where = f"{self.place}: list {what}"
        tokens: set[str] = set()
        objects = 0
        while True:
            page = await self._json(Request("list", "GET", f"{path}?{urlencode(query)}", what))
            objects += len(checked_page(page, where)["items"])
            if objects > MAX_LISTED:
                raise bad_answer(f"a list of more than {MAX_LISTED} objects", where)
            yield page
            token = page["metadata"].get("continue")
            if not token:
                return
            if token in tokens or len(tokens) >= MAX_PAGES or len(token) > MAX_TOKEN_CHARS:
                raise bad_answer("the pages of a list do not end", where)
            tokens.add(token)
            query["continue"] = token

    async def list_all(
        self,
        kind: ResourceKind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[JsonObject]:
        """All objects, with apiVersion and kind; use it for small collections only."""
        pages = self.list_pages(
            kind, namespace, label_selector=label_selector, field_selector=field_selector
        )
        identity = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [{**identity, **item} async for page in pages for item in page["items"]]

    async def kubelet_configuration(self, node: str) -> JsonObject:
        """The running configuration of a node's kubelet (`configz`)."""
        path = f"{NODES.path(name=node)}/proxy/configz"
        answer = await self._json(Request("get", "GET", path, f"configuration of node {node}"))
        configuration = answer.get("kubeletconfig")
        return configuration if isinstance(configuration, dict) else {}

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

        The first chunk is empty: the server has accepted the request. Raises KubeUnavailable if
        no byte arrives for `idle_timeout`.
        """
        path = f"{kind.path(self._in(kind, namespace))}?{urlencode({'watch': 'true', **query})}"
        what = self._what(kind, "", namespace)
        return self._transport.stream(Request("watch", "GET", path, what), idle_timeout)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in given.items() if value}
