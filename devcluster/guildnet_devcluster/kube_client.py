"""The little of the Kubernetes API that a devcluster itself speaks: JSON over one connection."""

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

#: More than any list of this small cluster's volumes; a bound all the same.
_MAX_BYTES = 32 * 1024 * 1024


class KubeClient:
    """A client for the cluster of a kubeconfig that this package wrote. Not for threads."""

    def __init__(self, kubeconfig: Path) -> None:
        whole = json.loads(kubeconfig.read_text())
        cluster, user = whole["clusters"][0]["cluster"], whole["users"][0]["user"]
        self._address = urlsplit(cluster["server"]).netloc
        self._tls = _tls_context(cluster, user)

    def request(self, method: str, path: str, body: object | None = None) -> tuple[int, Any]:
        """(HTTP status, decoded answer). Raises KubeUnavailable without an answer."""
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
        """All of a collection, and the resourceVersion to watch it from.

        Raises KubeUnavailable where it is not told.
        """
        status, answer = self.request("GET", path)
        if status != 200:
            raise KubeUnavailable(f"HTTP {status}", place=path, status=status)
        return answer["items"], answer["metadata"]["resourceVersion"]

    def watch(self, path: str, seconds: int) -> Iterator[dict[str, Any]]:
        """Events of a watch (`path` with its query) until the server ends it after `seconds`.

        A line that was cut off ends it too.
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
        """Whether the API server says of itself that it is ready."""
        try:
            return self.request("GET", "/readyz")[0] == 200
        except GuildNetError:
            return False

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`; False as well while there is no answer."""
        try:
            return self.request("GET", path)[0] == 200
        except GuildNetError:
            return False

    def ensure(self, path: str, body: object) -> None:
        """Create `body` under the collection `path` unless it exists already."""
        status, answer = self.request("POST", path, body)
        if status not in (200, 201, 409):
            raise GuildNetError(f"HTTP {status}: {answer}", place=f"https://{self._address}{path}")

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address, timeout=timeout, context=self._tls)

    def _send(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: object | None
    ) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        patch = "application/merge-patch+json" if method == "PATCH" else "application/json"
        connection.request(method, path, content, {"Content-Type": patch})
        return connection.getresponse()

    def _unavailable(self, error: Exception) -> KubeUnavailable:
        return KubeUnavailable(
            f"no answer: {error}",
            place=f"https://{self._address}",
            cure="see `guildnet devcluster status`",
        )


def _tls_context(cluster: dict[str, str], user: dict[str, str]) -> ssl.SSLContext:
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    # The ssl module takes a client's key from a file only.
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
