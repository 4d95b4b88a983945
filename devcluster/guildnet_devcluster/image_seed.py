"""Seeds a new node with images: a containerd root folder is built once and then hard-linked.

Importing an archive unpacks every file, which takes half a minute on each node for GuildNet's
images. A seed is the root folder of a containerd that has done this, kept in the cache. A node
starts with hard links to the files that containerd never changes (content by digest, and unpacked
layers, which overlayfs only reads) and with copies of its two databases.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from guildnet.errors import GuildNetError

from .build_cache import cache_folder, exclusive
from .containerd import Containerd
from .images import ImageRef
from .progress import Progress

#: In containerd's root. Written once, then only read or unlinked.
LINKED = (
    "io.containerd.content.v1.content/blobs",
    "io.containerd.snapshotter.v1.overlayfs/snapshots",
)
#: In containerd's root. Modified in place, so each node needs its own copy.
COPIED = (
    "io.containerd.metadata.v1.bolt/meta.db",
    "io.containerd.snapshotter.v1.overlayfs/metadata.db",
)
#: The file that lists a seed's images.
_CONTENTS = "guildnet-images.json"
#: Two, so that two checkouts used alternately each keep their seed.
_KEPT = 2
_TIMEOUT = timedelta(seconds=60)


def copy_to(root: Path, programs: Path, images: Sequence[ImageRef], progress: Progress) -> None:
    """Create the containerd root folder `root`, which must not exist, with `images`.

    It is created atomically. If the cache is on another file system, nothing is created, and the
    node imports the images instead. `programs` is containerd's folder. Raises GuildNetError if
    containerd rejects an archive.
    """
    folder = cache_folder() / "seeds"
    folder.mkdir(parents=True, exist_ok=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    if os.stat(folder).st_dev != os.stat(root.parent).st_dev:
        return
    # Also while linking, so that no other process replaces the seed meanwhile.
    with exclusive(cache_folder() / "seeds.lock"):
        seed = folder / _key(programs, _contents(images))
        if not seed.is_dir():
            with progress.step("unpacking images for nodes (once)", timedelta(seconds=40)):
                _build(seed, programs, images)
        os.utime(seed)
        _copy(seed, root)


def _contents(images: Sequence[ImageRef]) -> dict[str, str]:
    """Image name -> size and time of its archive, which change when the image is rebuilt."""
    found = ((image.name, image.archive.stat()) for image in images)
    return {name: f"{file.st_size} {file.st_mtime_ns}" for name, file in sorted(found)}


def _key(programs: Path, contents: Mapping[str, str]) -> str:
    inputs = json.dumps([programs.name, contents])
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def _build(seed: Path, programs: Path, images: Sequence[ImageRef]) -> None:
    for abandoned in seed.parent.glob(".*"):
        # We hold the lock, so the process that created it was killed.
        shutil.rmtree(abandoned, ignore_errors=True)
    older = sorted(seed.parent.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    contents = _contents(images)
    scratch = Path(tempfile.mkdtemp(prefix=".", dir=seed.parent)) / "root"
    try:
        before: dict[str, str] = {}
        if older:
            _copy(older[0], scratch)
            before = json.loads((older[0] / _CONTENTS).read_text())
        with _containerd(scratch, programs) as containerd:
            for image in images:
                if before.get(image.name) != contents[image.name]:
                    containerd.import_archive(image.archive)
            containerd.remove(before.keys() - contents.keys())
        (scratch / _CONTENTS).write_text(json.dumps(contents))
        scratch.rename(seed)
    finally:
        shutil.rmtree(scratch.parent, ignore_errors=True)
    for outdated in older[_KEPT - 1 :]:
        shutil.rmtree(outdated, ignore_errors=True)


@contextmanager
def _containerd(root: Path, programs: Path) -> Iterator[Containerd]:
    """Run a containerd that only manages images in `root`; stop it cleanly afterwards."""
    # A socket's path must be short; the cache's path may be too long.
    with tempfile.TemporaryDirectory(prefix="guildnet-") as folder:
        state = Path(folder)
        config = state / "containerd.toml"
        config.write_text(_config(root, state))
        # It must not outlive this process.
        argv = ["setpriv", "--pdeathsig=TERM", str(programs / "containerd"), "--config"]
        log = state / "log"
        with (
            log.open("wb") as output,
            subprocess.Popen([*argv, str(config)], stdout=output, stderr=output) as process,
        ):
            try:
                containerd = Containerd(programs, state / "containerd.sock")
                _wait_for_answer(containerd, process, log)
                yield containerd
            finally:
                process.terminate()
                process.wait(_TIMEOUT.total_seconds())


def _wait_for_answer(containerd: Containerd, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT.total_seconds()
    while not containerd.is_answering():
        if process.poll() is not None or time.monotonic() > deadline:
            raise GuildNetError(
                f"containerd did not start: {log.read_text(errors='replace')[-700:].strip()}",
                place="unpacking images for nodes",
                cure="Run the same command again.",
            )
        time.sleep(0.05)


def _config(root: Path, state: Path) -> str:
    left_out = (
        *("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"),
        *("io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"),
        *("io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"),
    )
    return f"""\
version = 3
root = '{root}'
state = '{state / "state"}'
disabled_plugins = {list(left_out)}

[grpc]
address = '{state / "containerd.sock"}'
"""


def _copy(seed: Path, root: Path) -> None:
    """Copy `seed` to `root`, which must not exist; immutable files are hard-linked."""
    scratch = root.with_name(f".{root.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    for part in (*LINKED, *COPIED):
        (scratch / part).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in LINKED:
        _run("cp", "--archive", "--link", "--", str(seed / part), str(scratch / part))
    for part in COPIED:
        shutil.copy2(seed / part, scratch / part)
    scratch.chmod(0o700)
    scratch.rename(root)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise GuildNetError(
            f"`{command[0]}` failed: {done.stderr.strip()[-400:]}",
            place="images for a new node",
            cure="Check the free disk space, then run the same command again.",
        )
