"""A read-only container registry that serves docker-archives: a program that runs on the host.

Nodes that pull their images, such as Talos', get them from here. Nothing is unpacked or copied: a
blob is a part of its archive. The folders are read again when their content changes.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from guildnet.errors import GuildNetError

from . import docker_archive
from .docker_archive import ArchivedImage, Blob

#: OCI distribution specification 1.1, "Endpoints".
_MANIFEST = re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<reference>[^/]+)")
_BLOB = re.compile(r"/v2/.+/blobs/(?P<digest>[^/]+)")

_log = logging.getLogger(__name__)


def repository_and_tag(name: str) -> tuple[str, str]:
    """Split an image's name into the repository in its registry, and its tag."""
    path, _, tag = name.rpartition(":")
    if not path or "/" in tag:
        path, tag = name, "latest"
    registry, _, rest = path.partition("/")
    is_registry = rest and (registry == "localhost" or "." in registry or ":" in registry)
    return (rest if is_registry else path), tag


@dataclass(slots=True)
class Catalog:
    """The images in the archives of some folders."""

    folders: Sequence[Path]
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _images: dict[Path, list[ArchivedImage]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def manifest(self, repository: str, reference: str) -> ArchivedImage | None:
        """The image with a tag, or with a manifest's digest."""
        for image in self._current():
            names = {repository_and_tag(name) for name in image.names}
            if (repository, reference) in names or reference == image.digest:
                return image
        return None

    def blob(self, digest: str) -> Blob | None:
        for image in self._current():
            for blob in image.blobs:
                if blob.digest == digest:
                    return blob
        return None

    def _current(self) -> list[ArchivedImage]:
        with self._lock:
            found = {
                file: (file.stat().st_size, file.stat().st_mtime_ns)
                for folder in self.folders
                for file in folder.glob("*.tar")
            }
            for file in self._images.keys() - found.keys():
                del self._images[file]
            for file, state in found.items():
                if self._seen.get(file) != state:
                    self._images[file] = _read(file)
            self._seen = found
            return [image for images in self._images.values() for image in images]


def _read(file: Path) -> list[ArchivedImage]:
    try:
        return docker_archive.read(file)
    except GuildNetError as error:
        _log.warning("%s", error)
        return []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    catalog: Catalog

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if found := _MANIFEST.fullmatch(path):
            self._send_manifest(found["repository"], found["reference"], with_body)
        elif found := _BLOB.fullmatch(path):
            self._send_blob(found["digest"], with_body)
        elif path == "/v2/":
            self._start(HTTPStatus.OK, 0, "application/json")
        else:
            self._start(HTTPStatus.NOT_FOUND, 0, "application/json")

    def _send_manifest(self, repository: str, reference: str, with_body: bool) -> None:
        image = self.catalog.manifest(repository, reference)
        if image is None:
            self._start(HTTPStatus.NOT_FOUND, 0, "application/json")
            return
        size = len(image.manifest)
        self._start(HTTPStatus.OK, size, docker_archive.MANIFEST_TYPE, image.digest)
        if with_body:
            self.wfile.write(image.manifest)

    def _send_blob(self, digest: str, with_body: bool) -> None:
        blob = self.catalog.blob(digest)
        if blob is None:
            self._start(HTTPStatus.NOT_FOUND, 0, "application/json")
            return
        with blob.archive.open("rb") as archive:
            self._start(HTTPStatus.OK, blob.size, "application/octet-stream", digest)
            if with_body:
                self.wfile.flush()
                _send_part(self.connection.fileno(), archive.fileno(), blob)

    def _start(self, status: HTTPStatus, size: int, media_type: str, digest: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(size))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()


def _send_part(connection: int, archive: int, blob: Blob) -> None:
    offset, end = blob.offset, blob.offset + blob.size
    while offset < end:
        sent = os.sendfile(connection, archive, offset, end - offset)
        if sent == 0:
            return
        offset += sent


def server(address: str, port: int, folders: Sequence[Path]) -> ThreadingHTTPServer:
    """A server of the archives `*.tar` in `folders`, which listens on `address`."""
    handler = type("Handler", (_Handler,), {"catalog": Catalog(folders)})
    return ThreadingHTTPServer((address, port), handler)


def main() -> None:
    """Run `python -m guildnet_devcluster.archive_registry --address IP --port N FOLDER...`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with server(arguments.address, arguments.port, arguments.folders) as serving:
        serving.serve_forever()


if __name__ == "__main__":
    main()
