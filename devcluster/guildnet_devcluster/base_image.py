"""The Debian that images stand on where there is no registry to pull one from.

Made by debootstrap, slimmed as Debian's own slim images are, and kept in the cache as one tar.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

from guildnet.errors import GuildNetError

from .packages import ensure_packages
from .progress import Progress

SUITE = "bookworm"
#: Certificates come with the base, because the host's are mounted over them while images build.
PACKAGES = ("ca-certificates",)
#: What Debian's slim images leave out as well.
LEFT_OUT = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man")
_EMPTIED = ("dev", "var/cache/apt", "var/lib/apt/lists", "var/log")
#: debootstrap, and the keys it checks Debian's signatures with.
_TOOLS = ("debootstrap", "debian-archive-keyring")


def base_key() -> str:
    """Twelve hex digits that change when a base made now would differ in its recipe."""
    recipe = repr((SUITE, PACKAGES, LEFT_OUT, _EMPTIED))
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def ensure_base(folder: Path, progress: Progress) -> Path:
    """The base's root file system as a tar in `folder`; older ones there are removed.

    Raises GuildNetError when debootstrap fails. Needs root.
    """
    archive = folder / f"base-{SUITE}-{base_key()}.tar"
    if not archive.exists():
        ensure_packages(_TOOLS, progress)
        with progress.step(f"making a Debian {SUITE} base image", timedelta(seconds=60)):
            _make(archive)
        for old in folder.glob("base-*.tar"):
            if old != archive:
                old.unlink()
    return archive


def _make(archive: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=".base-", dir=archive.parent))
    try:
        root = scratch / "root"
        _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root)
        _slim(root)
        partial = scratch / "base.tar"
        # A /proc that debootstrap left mounted must not end up in the image.
        _run("tar", "--one-file-system", "-C", root, "-cf", partial, ".")
        partial.rename(archive)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _slim(root: Path) -> None:
    """Take out what no container needs, and tell dpkg to leave the same out from now on."""
    rules = "".join(f"path-exclude=/{path}/*\n" for path in LEFT_OUT)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(rules)
    for path in (*LEFT_OUT, *_EMPTIED):
        for entry in (root / path).iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _run(*command: str | Path) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    words = [str(word) for word in command]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        told = (done.stdout + done.stderr).strip()[-800:]
        raise GuildNetError(
            f"{words[0]} failed: {told}",
            place=f"Debian {SUITE} base image",
            cure="see that a Debian mirror is reachable, then run the same command again",
        )
