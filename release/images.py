"""What the images contain, by the Dockerfile and its lock files, and which images are named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from release.locks import Package, debian_packages, go_modules, npm_packages, python_packages

_STAGE = re.compile(
    r"^FROM (?P<base>\S+) AS (?P<name>\S+)\n(?P<text>.*?)(?=^FROM |\Z)", re.M | re.S
)
_INSTALLED = re.compile(r"apt-get install -y --no-install-recommends ([^\\\n]+)")
_ARGUMENT = re.compile(r"^ARG (?:BASE|GO)=(\S+)$", re.M)


def image_packages(
    tree: Path, agents: Sequence[str], statuses: Path | None
) -> Mapping[str, list[Package]]:
    """The packages of each image, by the image's name.

    `agents` are the coding agents in the work image. `statuses` is a folder with the dpkg status
    files of built images, each named like the image; without one only the Debian packages that the
    Dockerfile names are listed, without versions.
    """
    agent = tree / "agent"
    npm = npm_packages(agent / "editor/package-lock.json")
    for name in agents:
        lock = agent / "coding-agents" / name / "package-lock.json"
        if not lock.is_file():
            raise ValueError(f"unknown coding agent {name}: there is no {lock.relative_to(tree)}")
        npm += npm_packages(lock)
    tailscale = tree / "devcluster/guildnet_devcluster/modules/tailscale/go.mod"
    operator, work = (
        _debian(agent / "Dockerfile", image, statuses) for image in ("operator", "work")
    )
    return {
        "guildnet-operator": [*operator, *python_packages(tree / "requirements-image.lock")],
        "guildnet-work": [*work, *python_packages(agent / "editor/node.lock"), *npm],
        "guildnet-mesh": [
            *(package for package in work if package.name == "ca-certificates"),
            *go_modules(tailscale),
        ],
    }


def _debian(dockerfile: Path, image: str, statuses: Path | None) -> list[Package]:
    status = statuses / f"guildnet-{image}" if statuses else None
    if status is not None:
        return debian_packages(status)
    return named_packages(dockerfile.read_text(), f"{image}-base")


def named_packages(dockerfile: str, stage: str) -> list[Package]:
    """The Debian packages that the stage and those below it install. Raises KeyError for an
    unknown stage."""
    stages = {found["name"]: found for found in _STAGE.finditer(dockerfile)}
    found: list[Package] = []
    below = stages[stage]
    while True:
        for names in _INSTALLED.findall(below["text"]):
            found += (Package("deb", name, None) for name in names.split())
        if below["base"] not in stages:
            return found
        below = stages[below["base"]]


def run_images(tree: Path) -> list[str]:
    """The images that the charts' values name, as a kubelet pulls them."""
    values = (yaml.safe_load(f.read_text()) for f in tree.glob("deploy/charts/*/values.yaml"))
    return sorted({image for chart in values for image in _images(chart)})


def _images(value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    if {"repository", "tag", "digest"} <= value.keys():
        yield f"{value['repository']}:{value['tag'] or 'latest'}"
    for member in value.values():
        yield from _images(member)


def build_images(tree: Path) -> list[str]:
    """The images that the Dockerfile starts from."""
    return sorted(_ARGUMENT.findall((tree / "agent/Dockerfile").read_text()))


def license_list(packages: Iterable[Package]) -> str:
    """A table of every package once: kind, name, version and license."""
    rows = {(p.kind, p.name, p.version or "-", p.license) for p in packages}
    return "".join("\t".join(row) + "\n" for row in sorted(rows))
