"""All the files of a release, in one folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from release.build import build_packages, export, git, pack_chart
from release.images import build_images, image_packages, license_list, run_images
from release.locks import Package, python_packages
from release.sbom import image_component, sbom, wheel_component


def release(
    commit: str, into: Path, agents: Sequence[str] = (), dpkg_status: Path | None = None
) -> list[str]:
    """Replace the folder `into` by the release of a commit; return the names of its files.

    Raises CalledProcessError for an unknown commit or a failed build, ValueError for an unknown
    coding agent. `into` then stays as it was.
    """
    epoch = int(git("log", "-1", "--format=%ct", commit, "--"))
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        tree, made = Path(scratch) / "tree", Path(scratch) / "made"
        made.mkdir()
        export(commit, tree)
        images = image_packages(tree, agents, dpkg_status)
        wheel = build_packages(tree, made, Path(scratch) / "sdist", epoch)
        for chart in sorted(tree.glob("deploy/charts/*/")):
            pack_chart(chart, made, epoch)
        _describe(tree, made, wheel, epoch, images)
        (made / "SHA256SUMS").write_text(
            "".join(f"{_sha256(made / name)}  {name}\n" for name in _names(made))
        )
        if into.exists():
            shutil.rmtree(into)
        shutil.copytree(made, into)
    return _names(into)


def _describe(
    tree: Path, made: Path, wheel: Path, epoch: int, images: Mapping[str, list[Package]]
) -> None:
    """Write the bills of materials and the lists."""
    name, version = wheel.name.split("-")[:2]
    packages = python_packages(tree / "requirements-image.lock")
    bill = sbom(wheel_component(name, version, _sha256(wheel)), packages, epoch)
    (made / f"{wheel.name}.cdx.json").write_text(bill)
    for image, contained in images.items():
        bill = sbom(image_component(image, version), contained, epoch)
        (made / f"{image}-{version}.cdx.json").write_text(bill)
    everything = [package for contained in images.values() for package in contained]
    (made / "licenses.tsv").write_text(license_list(everything))
    (made / "images.txt").write_text("".join(f"{i}\n" for i in run_images(tree)))
    (made / "build-images.txt").write_text("".join(f"{i}\n" for i in build_images(tree)))


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
