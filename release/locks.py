"""Reads lock files: which packages they pin, with the hashes of what a registry may give."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

UNKNOWN = "unknown"
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_MODULE = re.compile(
    r"^(?:require )?\t?(?P<name>[^\s/]+\.[^\s/]+(?:/\S+)?) (?P<version>v\S+)", re.M
)
#: The platform of the images. A package for other platforms is not in them.
_IMAGE_PLATFORM = {
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
}


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One pinned package. `kind` is its type in a package URL (pypi, npm, golang, deb).

    `version` is None where nothing pins it; `hashes` are pairs of algorithm and hexadecimal
    digest, one for each file that a registry may give; `license` is an SPDX expression, a name, or
    `unknown`.
    """

    kind: str
    name: str
    version: str | None
    hashes: tuple[tuple[str, str], ...] = ()
    license: str = UNKNOWN


def python_packages(lock: Path) -> list[Package]:
    """The packages of a pip lock file that are installed on Linux."""
    packages = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text()):
        found = _PINNED.match(block)
        if found is None or not _is_installed(found["marker"]):
            continue
        name, version = canonicalize_name(found["name"]), found["version"]
        hashes = tuple(("SHA-256", digest) for digest in _HASH.findall(block))
        packages.append(Package("pypi", name, version, hashes, _python_license(name, version)))
    return packages


def _is_installed(marker: str | None) -> bool:
    return marker is None or Marker(marker.strip()).evaluate(_IMAGE_PLATFORM)


def _python_license(name: str, version: str) -> str:
    """What the package's metadata says, if this very version is installed here."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return UNKNOWN
    if about["Version"] != version:
        return UNKNOWN
    said: str = (about.get_all("License-Expression") or about.get_all("License") or [""])[0]
    if said and "\n" not in said and said.upper() != "UNKNOWN":
        return said
    prefix = "License :: "
    classifiers = [c for c in about.get_all("Classifier") or () if c.startswith(prefix)]
    return " AND ".join(c.rpartition(" :: ")[2] for c in classifiers) or UNKNOWN


def npm_packages(lock: Path) -> list[Package]:
    """The packages of a package-lock.json that production installs, each version once."""
    found = set()
    for path, entry in json.loads(lock.read_text())["packages"].items():
        if not path or entry.get("dev") or entry.get("link"):
            continue
        name = entry.get("name") or path.rpartition("node_modules/")[2]
        found.add(
            Package(
                "npm",
                name,
                entry["version"],
                tuple(_integrity(entry.get("integrity", ""))),
                str(entry.get("license") or UNKNOWN),
            )
        )
    return sorted(found)


def _integrity(text: str) -> Iterable[tuple[str, str]]:
    """Hashes of a Subresource Integrity string."""
    for part in text.split():
        algorithm, _, digest = part.partition("-")
        yield algorithm.upper().replace("SHA", "SHA-"), base64.b64decode(digest).hex()


def go_modules(go_mod: Path) -> list[Package]:
    """The modules that a go.mod requires, also indirectly."""
    return [
        Package("golang", m["name"], m["version"]) for m in _MODULE.finditer(go_mod.read_text())
    ]


def debian_packages(status: Path) -> list[Package]:
    """The installed packages of a copy of /var/lib/dpkg/status.

    Raises ValueError if it lists none.
    """
    packages = []
    for block in status.read_text().split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", block, re.M))
        if fields.get("Status", "").endswith(" installed"):
            packages.append(Package("deb", fields["Package"], fields["Version"]))
    if not packages:
        raise ValueError(f"{status} lists no installed package: copy /var/lib/dpkg/status")
    return packages
