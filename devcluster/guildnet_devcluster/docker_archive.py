"""Images as docker-archives (`docker save`): written from files, and read without unpacking."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import posixpath
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from guildnet.errors import ConfigurationError

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_OCI = "application/vnd.oci.image"
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image of one layer; paths in it are relative to its root."""

    name: str
    #: Path in the image -> its content, which is executable.
    files: Mapping[str, Path | bytes]
    #: Path in the image -> target of the symbolic link.
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Sequence[str] = ()
    entrypoint: Sequence[str] = ()
    user: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """Part of an archive: a layer or an image's configuration."""

    archive: Path
    offset: int
    size: int
    media_type: str
    digest: str


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """An image in an archive, as a registry serves it."""

    #: Empty if the archive does not name it.
    names: tuple[str, ...]
    #: The OCI manifest.
    manifest: bytes
    blobs: tuple[Blob, ...]

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"


MANIFEST_TYPE = f"{_OCI}.manifest.v1+json"


def write(image: NewImage, archive: Path) -> None:
    """Write `image` to the file `archive`, for the architecture of this machine, atomically."""
    machine = platform.machine()
    partial = archive.with_name(f".{archive.name}.partial")
    with tempfile.TemporaryFile(dir=archive.parent) as layer:
        _write_layer(image, layer)
        digest = _digest(layer)
        config = {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": list(image.entrypoint), "User": image.user},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
        layer_name = f"{digest.removeprefix('sha256:')}.tar"
        manifest = [{"Config": "config.json", "RepoTags": [image.name], "Layers": [layer_name]}]
        with tarfile.open(partial, "w") as tar:
            _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
            _add(tar, "config.json", json.dumps(config).encode(), 0o644)
            entry = tarfile.TarInfo(layer_name)
            entry.size = layer.seek(0, io.SEEK_END)
            layer.seek(0)
            tar.addfile(entry, layer)
    partial.rename(archive)


def read(archive: Path) -> list[ArchivedImage]:
    """The images of a docker-archive. Raises ConfigurationError if it is not one."""
    try:
        with tarfile.open(archive) as tar:
            entries = json.loads(_content(tar, "manifest.json"))
            return [_image(archive, tar, entry) for entry in entries]
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"the file is not a docker-archive: {error}",
            place=str(archive),
            cure="Give the path of an archive written by `docker save`.",
        ) from error


def _write_layer(image: NewImage, layer: IO[bytes]) -> None:
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in image.folders:
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for path, content in sorted(image.files.items()):
            data = content if isinstance(content, bytes) else content.read_bytes()
            _add(tar, path, data, 0o755)
        for path, target in sorted(image.links.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _image(archive: Path, tar: tarfile.TarFile, entry: Mapping[str, Any]) -> ArchivedImage:
    text = _content(tar, entry["Config"])
    config = _blob(archive, tar, entry["Config"], f"{_OCI}.config.v1+json", None)
    ids = json.loads(text)["rootfs"]["diff_ids"]
    layers = [
        _blob(archive, tar, name, f"{_OCI}.layer.v1.tar", diff_id)
        for name, diff_id in zip(entry["Layers"], ids, strict=True)
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
    }
    return ArchivedImage(
        tuple(entry.get("RepoTags") or ()), json.dumps(manifest).encode(), (config, *layers)
    )


def _blob(
    archive: Path, tar: tarfile.TarFile, name: str, media_type: str, diff_id: str | None
) -> Blob:
    member = tar.getmember(name)
    if member.issym():
        # Archives of older Dockers link a layer that two images share.
        member = tar.getmember(posixpath.normpath(f"{posixpath.dirname(name)}/{member.linkname}"))
    content = tar.extractfile(member)
    if content is None:
        raise KeyError(name)
    with content:
        if content.read(2) == _GZIP_MAGIC:
            media_type, diff_id = f"{media_type}+gzip", None
        # An uncompressed layer that is named after its own digest is not read.
        known = diff_id if diff_id and Path(name).stem == diff_id.removeprefix("sha256:") else None
        digest = known or _digest(content)
    return Blob(archive, member.offset_data, member.size, media_type, digest)


def _descriptor(blob: Blob) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    found = tar.extractfile(name)
    if found is None:
        raise KeyError(name)
    with found:
        return found.read()


def _digest(content: IO[bytes]) -> str:
    content.seek(0)
    whole = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        whole.update(chunk)
    return f"sha256:{whole.hexdigest()}"
