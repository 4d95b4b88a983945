"""Builds the sdist, the wheel and the charts' archives from the files of one commit."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml


def git(*arguments: str) -> str:
    """The output of git in the current checkout."""
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def export(commit: str, folder: Path) -> None:
    """Write the commit's files into `folder`: nothing that is uncommitted or untracked."""
    command = ["git", "archive", "--format=tar", commit]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    _extract(archive, folder)


def build_packages(tree: Path, into: Path, scratch: Path, epoch: int) -> Path:
    """Build the sdist from `tree`, and the wheel from that sdist; return the wheel."""
    _hatch(tree, "sdist", into, epoch)
    (sdist,) = into.glob("*.tar.gz")
    _extract(sdist.read_bytes(), scratch)
    _hatch(scratch / sdist.name.removesuffix(".tar.gz"), "wheel", into, epoch)
    (wheel,) = into.glob("*.whl")
    return wheel


def _extract(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(folder, filter="data")


def _hatch(tree: Path, target: str, into: Path, epoch: int) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into.absolute())],
        cwd=tree,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        check=True,
        capture_output=True,
        text=True,
    )


def pack_chart(chart: Path, into: Path, epoch: int) -> None:
    """Write the archive that `helm package` would, with one owner, mode and time for all files."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in sorted(path for path in chart.rglob("*") if path.is_file()):
            data = file.read_bytes()
            entry = tarfile.TarInfo(f"{about['name']}/{file.relative_to(chart).as_posix()}")
            entry.size, entry.mtime, entry.mode = len(data), epoch, 0o644
            archive.addfile(entry, io.BytesIO(data))
    name = f"{about['name']}-{about['version']}.tgz"
    (into / name).write_bytes(gzip.compress(packed.getvalue(), mtime=epoch))
