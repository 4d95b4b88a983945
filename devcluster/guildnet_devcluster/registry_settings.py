"""The host's settings for package registries (pip, npm, certificates), mounted into image builds.

They are mounted only during a build step, so no layer contains them.
"""

from __future__ import annotations

import configparser
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: The home folder in the image: builds run as root.
_BUILD_HOME = "/root"
_CERTIFICATES = Path("/etc/ssl/certs")
#: The pip settings that locate packages; settings that are paths do not exist inside a build.
_PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries")
_PIP_FILES = ("/etc/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")


@contextmanager
def settings_mounts(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the volumes `host:container:ro` for a build; temporary files are kept in `folder`."""
    mounts = []
    if (_CERTIFICATES / "ca-certificates.crt").exists():
        mounts.append(f"{_CERTIFICATES}:{_CERTIFICATES}:ro")
    npm = Path("~/.npmrc").expanduser()
    if npm.is_file():
        mounts.append(f"{npm}:{_BUILD_HOME}/.npmrc:ro")
    files = [Path(name).expanduser() for name in _PIP_FILES]
    text = pip_settings([file.read_text() for file in files if file.is_file()], os.environ)
    # mkstemp creates it with mode 0600: an index URL may contain a password.
    handle, name = tempfile.mkstemp(prefix=".pip-", dir=folder)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        yield (*mounts, f"{name}:/etc/pip.conf:ro")
    finally:
        Path(name).unlink()


def pip_settings(files: list[str], environment: Mapping[str, str]) -> str:
    """Merge the texts of pip.conf files and then `environment` into one; later ones override."""
    merged = configparser.ConfigParser(interpolation=None)
    for text in files:
        merged.read_string(text)
    settings = dict(merged["global"]) if merged.has_section("global") else {}
    for key in _PIP_KEYS:
        value = environment.get("PIP_" + key.upper().replace("-", "_"))
        if value is not None:
            settings[key] = value
    lines = [f"{key} = {settings[key]}" for key in _PIP_KEYS if key in settings]
    return "\n".join(["[global]", *lines, ""])
