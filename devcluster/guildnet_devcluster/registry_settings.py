"""What the host knows about reaching package registries, lent to image builds.

Lent by mounts that end with the build step: nothing of it is in any layer.
"""

from __future__ import annotations

import configparser
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: In the image: builds run as its root.
_BUILDERS_HOME = "/root"
_CERTIFICATES = Path("/etc/ssl/certs")
#: The settings of pip that say where packages are; its paths mean nothing inside a build.
_PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries")
_PIP_FILES = ("/etc/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")


@contextmanager
def settings_mounts(folder: Path) -> Iterator[tuple[str, ...]]:
    """Volumes `host:container:ro` for a build; files made for it live in `folder` meanwhile."""
    mounts = []
    if (_CERTIFICATES / "ca-certificates.crt").exists():
        mounts.append(f"{_CERTIFICATES}:{_CERTIFICATES}:ro")
    npm = Path("~/.npmrc").expanduser()
    if npm.is_file():
        mounts.append(f"{npm}:{_BUILDERS_HOME}/.npmrc:ro")
    files = [Path(name).expanduser() for name in _PIP_FILES]
    text = pip_settings([file.read_text() for file in files if file.is_file()], os.environ)
    # mkstemp's mode 0600 matters: an index URL may hold a password.
    handle, name = tempfile.mkstemp(prefix=".pip-", dir=folder)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        yield (*mounts, f"{name}:/etc/pip.conf:ro")
    finally:
        Path(name).unlink()


def pip_settings(files: list[str], environment: Mapping[str, str]) -> str:
    """One pip.conf of what `files` (texts, later ones win) and then `environment` say."""
    merged = configparser.ConfigParser(interpolation=None)
    for text in files:
        merged.read_string(text)
    told = dict(merged["global"]) if merged.has_section("global") else {}
    for key in _PIP_KEYS:
        value = environment.get("PIP_" + key.upper().replace("-", "_"))
        if value is not None:
            told[key] = value
    lines = [f"{key} = {told[key]}" for key in _PIP_KEYS if key in told]
    return "\n".join(["[global]", *lines, ""])
