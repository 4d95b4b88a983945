"""Images that a new node has from its start: a containerd root made once, and linked from then on.

Importing an archive unpacks it file by file, half a minute for GuildNet's own images and each
node. A seed is the root of a containerd that did so once, kept in the cache. A node begins with
hard links to what containerd never changes (content by its digest; the files of unpacked layers,
which overlayfs only ever reads) and with copies of its two databases. Nothing else is taken over.
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

#: Inside containerd's root. Written once, then only read or unlinked.
LINKED = (
    "io.containerd.content.v1.content/blobs",
    "io.containerd.snapshotter.v1.overlayfs/snapshots",
)
#: Inside containerd's root. Written in place, so each node has its own.
COPIED = (
    "io.containerd.metadata.v1.bolt/meta.db",
    "io.containerd.snapshotter.v1.overlayfs/metadata.db",
)
#: Which images a seed has, beside what containerd keeps.
_CONTENTS = "guildnet-images.json"
#: Two checkouts that take turns keep a seed each.
_KEPT = 2
_PATIENCE = timedelta(seconds=60)


def copy_to(root: Path, programs: Path, images: Sequence[ImageRef], progress: Progress) -> None:
    """Make `root`, which must not exist, a containerd root that has `images`.

    It appears whole or not at all, and stays away where the cache is on another file system: a
    node then imports. `programs` is containerd's folder. Raises GuildNetError when an archive is
    refused.
    """
    folder = cache_folder() / "seeds"
    folder.mkdir(parents=True, exist_ok=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    if os.stat(folder).st_dev != os.stat(root.parent).st_dev:
        return
    # Also while linking: a seed that another process replaces must not go meanwhile.
    with exclusive(cache_folder() / "seeds.lock"):
        seed = folder / _key(programs, _contents(images))
        if not seed.is_dir():
            # Rather less when a seed of the images before these is there to begin from.
            with progress.step("unpacking images for nodes (once)", timedelta(seconds=40)):
                _make(seed, programs, images)
        os.utime(seed)
        _copy(seed, root)


def _contents(images: Sequence[ImageRef]) -> dict[str, str]:
    """What tells each image, by its name, from one built anew under the same name."""
    found = ((image.name, image.archive.stat()) for image in images)
    return {name: f"{told.st_size} {told.st_mtime_ns}" for name, told in sorted(found)}


def _key(programs: Path, contents: Mapping[str, str]) -> str:
    told = json.dumps([programs.name, contents])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _make(seed: Path, programs: Path, images: Sequence[ImageRef]) -> None:
    for abandoned in seed.parent.glob(".*"):
        # We hold the lock: whoever began it was killed.
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
            containerd.forget(before.keys() - contents.keys())
        (scratch / _CONTENTS).write_text(json.dumps(contents))
        scratch.rename(seed)
    finally:
        shutil.rmtree(scratch.parent, ignore_errors=True)
    for outdated in older[_KEPT - 1 :]:
        shutil.rmtree(outdated, ignore_errors=True)


@contextmanager
def _containerd(root: Path, programs: Path) -> Iterator[Containerd]:
    """A containerd that only keeps images, in `root`; ended, its databases closed, at the end."""
    # Sockets have short paths, which a cache may not.
    with tempfile.TemporaryDirectory(prefix="guildnet-") as place:
        state = Path(place)
        config = state / "containerd.toml"
        config.write_text(_config(root, state))
        # Should we be killed, it must not outlive us.
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
                process.wait(_PATIENCE.total_seconds())


def _wait_for_answer(containerd: Containerd, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE.total_seconds()
    while not containerd.is_answering():
        if process.poll() is not None or time.monotonic() > deadline:
            raise GuildNetError(
                f"containerd does not start: {log.read_text(errors='replace')[-700:].strip()}",
                place="unpacking images for nodes",
                cure="run the same command again",
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
    """`root`, which must not exist, as a copy of `seed` that shares what never changes."""
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
            cure="see that the disk has room, then run the same command again",
        )
