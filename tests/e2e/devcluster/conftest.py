"""The image for the node's tests, built from this machine's Python."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.images import ensure_mesh_image
from guildnet_devcluster.progress import progress_to

IMAGE = "localhost/t-python:1"
_EXCLUDED = {"test", "idlelib", "tkinter", "ensurepip", "site-packages", "dist-packages"}


@pytest.fixture(scope="session")
def python_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker-archive of `localhost/t-python:1`, with the single program /python."""
    archive = tmp_path_factory.mktemp("image") / "t-python.tar"
    program = Path(os.path.realpath(sys.executable))
    standard_library = Path(sysconfig.get_path("stdlib"))
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program, str(program))
        link = tarfile.TarInfo("python")
        link.type, link.linkname = tarfile.SYMTYPE, str(program)
        tar.addfile(link)
        for library in _libraries(program, Path(zlib.__file__)):
            tar.add(os.path.realpath(library), library)
        tar.add(standard_library, str(standard_library), filter=_needed)
    with tarfile.open(archive, mode="w") as tar:
        for name, content in _image_files(layer.getvalue()).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive


@pytest.fixture(scope="session")
def mesh_image(mesh_programs: None, node_cluster: Cluster) -> str:
    """The name of the mesh image, loaded into the node."""
    image = ensure_mesh_image(progress_to())
    # Only the load needs the cluster's state folder.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(node_cluster.data.parents[1]))
        cluster.load_image(node_cluster.name, image.archive, progress_to())
    return image.name


@pytest.fixture
def kubectl() -> Callable[..., str]:
    """Runs kubectl with a kubeconfig and returns its output; the test fails if kubectl fails."""

    def run(kubeconfig: Path, *arguments: str, manifest: object = None) -> str:
        program = Path(sys.executable).parent / "kubectl"
        done = subprocess.run(
            [str(program), f"--kubeconfig={kubeconfig}", *arguments],
            input=None if manifest is None else json.dumps(manifest),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


def _libraries(*programs: Path) -> list[str]:
    """The paths of the shared libraries that `programs` load."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(/\S+) \(0x", listed)))


def _needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = set(Path(entry.name).parts)
    return None if parts & _EXCLUDED or entry.name.endswith((".pyc", ".a")) else entry


def _image_files(layer: bytes) -> dict[str, bytes]:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    config: dict[str, Any] = {
        "architecture": machine,
        "os": "linux",
        "config": {"Entrypoint": ["/python"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    return {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
    }
