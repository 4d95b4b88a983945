"""A minimal synchronous Kubernetes client, for the devcluster's own programs."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from guildnet.errors import GuildNetError, KubeUnavailable

#: Far larger than any list in such a small cluster.
_MAX_BYTES = 32 * 1024 * 1024


class KubeClient:
    """A client for a kubeconfig that this package wrote. Not thread-safe."""

    def __init__(self, kubeconfig: Path) -> None:
        whole = json.loads(kubeconfig.read_text())
        cluster, user = whole["clusters"][0]["cluster"], whole["users"][0]["user"]
        self._address = urlsplit(cluster["server"]).netloc
        self._tls = _tls_context(cluster, user)

    def request(self, method: str, path: str, body: object | None = None) -> tuple[int, Any]:
        """Send a request; return (status, decoded body). Raises KubeUnavailable if it fails."""
        connection = self._connection(timeout=10)
        try:
            answer = self._send(connection, method, path, body)
            text = answer.read(_MAX_BYTES)
            return answer.status, _decoded(text)
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()

    def items(self, path: str) -> tuple[list[dict[str, Any]], str]:
        """List a collection; return (items, resourceVersion to watch from).

        Raises KubeUnavailable if the list fails.
        """
        status, answer = self.request("GET", path)
        if status != 200:
            raise KubeUnavailable(f"HTTP {status}", place=path, status=status)
        return answer["items"], answer["metadata"]["resourceVersion"]

    def watch(self, path: str, seconds: int) -> Iterator[dict[str, Any]]:
        """Watch `path`, which includes a query, until the server ends the watch after `seconds`.

        A truncated line also ends it.
        """
        connection = self._connection(timeout=seconds + 10)
        try:
            answer = self._send(connection, "GET", f"{path}&timeoutSeconds={seconds}", None)
            while isinstance(event := _decoded(answer.readline(_MAX_BYTES)), dict):
                yield event
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Whether the API server reports that it is ready."""
        try:
            return self.request("GET", "/readyz")[0] == 200
        except GuildNetError:
            return False

    def exists(self, path: str) -> bool:
        """Whether an object exists at `path`; also False if the API server does not answer."""
        try:
            return self.request("GET", path)[0] == 200
        except GuildNetError:
            return False

    def ensure(self, path: str, body: object) -> None:
        """Create `body` in the collection `path`, unless it already exists."""
        status, answer = self.request("POST", path, body)
        if status not in (200, 201, 409):
            raise GuildNetError(f"HTTP {status}: {answer}", place=f"https://{self._address}{path}")

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address, timeout=timeout, context=self._tls)

    def _send(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: object | None
    ) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        connection.request(method, path, content, {"Content-Type": kind})
        return connection.getresponse()

    def _unavailable(self, error: Exception) -> KubeUnavailable:
        return KubeUnavailable(
            f"the API server does not answer: {error}",
            place=f"https://{self._address}",
            cure="Run `guildnet devcluster status`.",
        )


def _tls_context(cluster: dict[str, str], user: dict[str, str]) -> ssl.SSLContext:
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    # The ssl module reads client keys only from files.
    with tempfile.NamedTemporaryFile(suffix=".pem") as pair:
        for part in ("client-certificate-data", "client-key-data"):
            pair.write(base64.b64decode(user[part]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return context


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")
