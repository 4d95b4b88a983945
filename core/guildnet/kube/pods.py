"""Calls to pods: HTTP through the API server's proxy, and logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

from guildnet.errors import KubeInvalid
from guildnet.kube.api_errors import error_of, status_object
from guildnet.kube.calls import Calls
from guildnet.kube.kinds import PODS
from guildnet.kube.transport import Request

LOG_IDLE_TIMEOUT = timedelta(hours=24)


class PodCalls(Calls):
    """The calls of a client that reach pods."""

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

        `path` starts with "/" and may have a query, both encoded. Header names are returned in
        lower case. Redirects are not followed. A request that the API server refuses or cannot
        forward raises a Kube error; an answer larger than `max_bytes` raises a KubeError with
        reason `TooLarge`.
        """
        where = f"{PODS.path(namespace or self.namespace, f'{pod}:{port}')}/proxy"
        what = f"pods/{namespace or self.namespace}/{pod}:{port}{path.partition('?')[0]}"
        if not is_plain_path(path):
            raise KubeInvalid("the path is not valid for a request to a pod", place=what)
        request = Request(
            "proxy",
            method,
            where + path,
            what,
            body=body or None,
            headers={"Accept": "*/*", **(headers or {})},
            timeout=timeout,
            max_bytes=max_bytes,
        )
        answer = await self._transport.send(request)
        if answer.status >= 400 and status_object(answer.body) is not None:
            # A Status object comes from the API server; agents answer with other JSON.
            where = f"{self.place}: {what}"
            redact = self._transport.redact.message
            raise error_of(answer.status, answer.headers, answer.body, where, redact)
        lowered = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, lowered, answer.body

    async def pod_log(
        self,
        pod: str,
        *,
        container: str,
        namespace: str | None = None,
        tail_lines: int | None = None,
        max_bytes: int = 64 * 1024,
        previous: bool = False,
    ) -> bytes:
        """The last `tail_lines` of a container's log, at most `max_bytes` from their start."""
        query = {"container": container, "limitBytes": str(max_bytes)}
        query |= {"previous": "true"} if previous else {}
        request = self._log_request(pod, namespace, tail_lines, query)
        return await self._transport.call(replace(request, max_bytes=max_bytes))

    def follow_pod_log(
        self,
        pod: str,
        *,
        container: str,
        namespace: str | None = None,
        tail_lines: int | None = None,
    ) -> AsyncIterator[bytes]:
        """Stream a container's log in chunks until the container ends."""
        query = {"container": container, "follow": "true"}
        request = self._log_request(pod, namespace, tail_lines, query)
        return self._transport.stream(request, LOG_IDLE_TIMEOUT)

    def _log_request(
        self, pod: str, namespace: str | None, tail_lines: int | None, query: dict[str, str]
    ) -> Request:
        if tail_lines is not None:
            query = {**query, "tailLines": str(tail_lines)}
        where = namespace or self.namespace
        path = f"{PODS.path(where, pod)}/log?{urlencode(query)}"
        return Request("log", "GET", path, f"pods/{where}/{pod}", headers={"Accept": "*/*"})


def is_plain_path(path: str) -> bool:
    """Whether `path` cannot lead out of the pod's proxy path."""
    plain = path.partition("?")[0]
    return (
        path.startswith("/")
        and all(0x20 < ord(char) < 0x7F for char in path)
        and "#" not in path
        and ".." not in plain.split("/")
        and "%" not in plain
    )
