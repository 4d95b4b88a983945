"""docker-archives: written from files, and served by a registry without unpacking them."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster import archive_registry, docker_archive
from guildnet_devcluster.docker_archive import NewImage

TOOL = NewImage(
    name="registry.k8s.io/tool:v1",
    files={"usr/bin/tool": b"program"},
    links={"bin": "usr/bin"},
    folders=["usr", "usr/bin", "tmp"],
    entrypoint=["/bin/tool"],
    user="65535",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docker_archive.write(TOOL, tmp_path / "tool.tar")
    return tmp_path


@pytest.fixture
def registry(folder: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to a registry of the archives in `folder`."""
    with archive_registry.server("127.0.0.1", 0, [folder]) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        connection = _connection(server)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            serving.join()


def _connection(server: ThreadingHTTPServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)


def _get(
    registry: http.client.HTTPConnection, path: str, method: str = "GET"
) -> tuple[http.client.HTTPResponse, bytes]:
    registry.request(method, path)
    answer = registry.getresponse()
    return answer, answer.read()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_an_image_is_pulled_by_tag_with_every_blob_under_its_digest(
    registry: http.client.HTTPConnection,
) -> None:
    """What containerd does: the tag, the manifest by its digest, and then each blob."""
    assert _get(registry, "/v2/")[0].status == 200
    head, nothing = _get(registry, "/v2/tool/manifests/v1?ns=registry.k8s.io", "HEAD")
    assert (head.status, nothing) == (200, b"")
    digest = head.headers["Docker-Content-Digest"]
    answer, manifest = _get(registry, f"/v2/tool/manifests/{digest}")
    assert answer.headers["Content-Type"] == docker_archive.MANIFEST_TYPE
    assert _digest(manifest) == digest
    described = json.loads(manifest)
    contents = []
    for blob in (described["config"], *described["layers"]):
        answer, content = _get(registry, f"/v2/tool/blobs/{blob['digest']}")
        assert answer.status == 200
        assert (_digest(content), len(content)) == (blob["digest"], blob["size"])
        contents.append(content)
    config, layer = contents
    assert json.loads(config)["config"] == {"Entrypoint": ["/bin/tool"], "User": "65535"}
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getnames() == ["usr", "usr/bin", "tmp", "usr/bin/tool", "bin"]
        program = tar.extractfile("usr/bin/tool")
        assert program is not None
        assert program.read() == b"program"
        assert tar.getmember("bin").linkname == "usr/bin"


@pytest.mark.parametrize(
    "path",
    [
        "/v2/tool/manifests/v2",
        "/v2/other/manifests/v1",
        f"/v2/tool/blobs/{_digest(b'')}",
        "/",
        "/v2/../tool.tar",
    ],
)
def test_unknown_images_are_not_found(registry: http.client.HTTPConnection, path: str) -> None:
    assert _get(registry, path)[0].status == 404


def test_archives_can_be_added_and_removed_while_it_serves(
    registry: http.client.HTTPConnection, folder: Path
) -> None:
    """A broken one is passed over."""
    (folder / "broken.tar").write_text("not a tar file")
    assert _get(registry, "/v2/tool/manifests/v1")[0].status == 200
    second = NewImage(name="localhost/guildnet-work:1", files={"agent": b"agent"})
    docker_archive.write(second, folder / "work.tar")
    assert _get(registry, "/v2/guildnet-work/manifests/1?ns=localhost")[0].status == 200
    (folder / "work.tar").unlink()
    assert _get(registry, "/v2/guildnet-work/manifests/1?ns=localhost")[0].status == 404


def test_compressed_layers_and_linked_layers_keep_their_own_digest(tmp_path: Path) -> None:
    """Archives of other programs: layers may be compressed, or links to a layer elsewhere."""
    docker_archive.write(TOOL, tmp_path / "plain.tar")
    with tarfile.open(tmp_path / "plain.tar") as tar:
        (entry,) = json.loads(_read(tar, "manifest.json"))
        config, layer = _read(tar, "config.json"), _read(tar, entry["Layers"][0])
    packed = gzip.compress(layer)
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["id/layer.tar"]}]
    with tarfile.open(tmp_path / "packed.tar", "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, "config.json", config)
        _add(tar, "shared.tar", packed)
        link = tarfile.TarInfo("id/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../shared.tar"
        tar.addfile(link)
    (image,) = docker_archive.read(tmp_path / "packed.tar")
    blob = image.blobs[1]
    assert image.names == ()
    assert blob.media_type.endswith("+gzip")
    assert blob.digest == _digest(packed)
    content = (tmp_path / "packed.tar").read_bytes()
    assert content[blob.offset : blob.offset + blob.size] == packed


def test_a_file_that_is_no_archive_is_refused_by_its_path(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_text("{}")
    with pytest.raises(ConfigurationError, match="not a docker-archive"):
        docker_archive.read(broken)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("registry.k8s.io/etcd:v3", ("etcd", "v3")),
        ("ghcr.io/siderolabs/kubelet:v1", ("siderolabs/kubelet", "v1")),
        ("localhost/guildnet-work:1a", ("guildnet-work", "1a")),
        ("10.0.0.1:5000/a/b", ("a/b", "latest")),
        ("library/debian", ("library/debian", "latest")),
    ],
)
def test_names_are_split_into_repository_and_tag(name: str, found: tuple[str, str]) -> None:
    assert archive_registry.repository_and_tag(name) == found


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    found = tar.extractfile(name)
    assert found is not None
    return found.read()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
