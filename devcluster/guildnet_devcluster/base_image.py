"""The Debian base image, built locally because no registry is needed to pull it from.

Built by debootstrap, reduced like Debian's own slim images, and kept in the cache as one tar file.
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
#: Certificates are part of the base, because builds mount the host's over them.
PACKAGES = ("ca-certificates",)
#: Debian's slim images exclude these as well.
EXCLUDED = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man")
_EMPTIED = ("dev", "var/cache/apt", "var/lib/apt/lists", "var/log")
#: debootstrap, and the keys it checks Debian's signatures with.
_TOOLS = ("debootstrap", "debian-archive-keyring")


def base_key() -> str:
    """Twelve hex digits that change with the recipe of the base image."""
    recipe = repr((SUITE, PACKAGES, EXCLUDED, _EMPTIED))
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def ensure_base(folder: Path, progress: Progress) -> Path:
    """Return the base's root file system as a tar file in `folder`, built if missing.

    Older ones are removed. Requires root; raises GuildNetError if debootstrap fails.
    """
    archive = folder / f"base-{SUITE}-{base_key()}.tar"
    if not archive.exists():
        ensure_packages(_TOOLS, progress)
        with progress.step(f"building the Debian {SUITE} base image", timedelta(seconds=60)):
            _build(archive)
        for old in folder.glob("base-*.tar"):
            if old != archive:
                old.unlink()
    return archive


def _build(archive: Path) -> None:
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
    """Delete files that no container needs, and configure dpkg to exclude them from now on."""
    rules = "".join(f"path-exclude=/{path}/*\n" for path in EXCLUDED)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(rules)
    for path in (*EXCLUDED, *_EMPTIED):
        for entry in (root / path).iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _run(*command: str | Path) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    argv = [str(argument) for argument in command]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()[-800:]
        raise GuildNetError(
            f"{argv[0]} failed: {output}",
            place=f"Debian {SUITE} base image",
            cure="Check that a Debian mirror is reachable, then run the same command again.",
        )
