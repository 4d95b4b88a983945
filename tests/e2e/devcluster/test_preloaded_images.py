"""A new node starts with its images, and changes on a node do not affect the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guildnet_devcluster import cluster, components, image_seed
from guildnet_devcluster.build_cache import cache_folder
from guildnet_devcluster.images import ImageRef
from guildnet_devcluster.progress import progress_to

IMAGE = "localhost/t-python:1"
OVERWRITE = """
import hashlib, json, pathlib, shutil, time
library = pathlib.Path(hashlib.__file__)
with library.open("ab") as handle:
    handle.write(b"#")
pathlib.Path(json.__file__).chmod(0o600)
pathlib.Path(shutil.__file__).unlink()
pathlib.Path("/done").touch()
time.sleep(3600)
"""
IS_DONE = ["/python", "-c", "import os; os.stat('/done')"]


@pytest.fixture
def own_cache(node_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache with the compiled programs but no seeds, and a state folder."""
    programs = cache_folder() / "components"
    components.ensure("containerd", progress_to())
    monkeypatch.setenv("XDG_CACHE_HOME", str(node_folder / "cache"))
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(node_folder / "state"))
    (cache_folder() / "components").symlink_to(programs)
    yield cache_folder()
    cluster.down(_name())


def _name() -> str:
    return f"t-seed-{os.getpid()}"


def _state(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file under `folder` with its mode and content."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in files
    }


def test_a_pod_that_overwrites_its_image_affects_no_other_node(
    own_cache: Path, python_image: Path, kubectl: Callable[..., str]
) -> None:
    """I2 on the machine: neither root in a pod nor `down` modifies shared files."""
    images = (ImageRef(IMAGE, python_image),)
    killed = own_cache / "seeds" / ".killed"
    killed.mkdir(parents=True)
    found = cluster.up(_name(), node=True, progress=progress_to(), images=images)
    assert not killed.exists()
    (seed,) = (own_cache / "seeds").iterdir()
    before = _state(seed)
    container = {
        "name": "writer",
        "image": IMAGE,
        "args": ["-c", OVERWRITE],
        "readinessProbe": {"exec": {"command": IS_DONE}, "periodSeconds": 1},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "writer", "namespace": "default"},
        "spec": {"containers": [container]},
    }
    kubectl(found.kubeconfig, "apply", "-f", "-", manifest=pod)
    kubectl(found.kubeconfig, "wait", "pod/writer", "--for=condition=Ready", "--timeout=90s")
    look = "import hashlib; print(open(hashlib.__file__).read()[-1])"
    in_pod = kubectl(found.kubeconfig, "exec", "writer", "--", "/python", "-c", look)
    assert in_pod.strip() == "#"
    assert cluster.up(_name(), node=True, progress=progress_to(), images=images) == found
    assert _state(seed) == before
    cluster.down(_name())
    assert _state(seed) == before


def test_seeds_follow_their_images(own_cache: Path, python_image: Path, tmp_path: Path) -> None:
    """I4: a seed is built once for its images, rebuilt when one changes; old seeds are removed."""
    programs = components.ensure("containerd", progress_to())
    images = (ImageRef(IMAGE, python_image),)
    seeds = own_cache / "seeds"
    seen: set[str] = set()
    for turn in range(3):
        os.utime(python_image, (turn, turn))
        for node in ("one", "two"):
            root = tmp_path / f"{node}-{turn}"
            image_seed.copy_to(root, programs, images, progress_to())
            for part in (*image_seed.LINKED, *image_seed.COPIED):
                assert (root / part).exists()
        now = {path.name for path in seeds.iterdir()}
        assert len(now) == min(turn + 1, 2)
        assert len(now - seen) == 1
        seen |= now
    blob = next(path for path in (root / image_seed.LINKED[0]).rglob("*") if path.is_file())
    assert blob.stat().st_nlink > 1
    assert (root / image_seed.COPIED[0]).stat().st_nlink == 1
