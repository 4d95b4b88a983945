"""The releases that CHANGELOG.md names, the newest first."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Release:
    """`commit`: its full id; empty for the version of this checkout, which cannot name its own."""

    version: str
    commit: str


def releases(text: str) -> list[Release]:
    sections = re.split(r"^## \[(.+?)\].*$", text, flags=re.MULTILINE)[1:]
    return [
        Release(version, found[1] if (found := re.search(r"^Commit: (\S+)$", body, re.M)) else "")
        for version, body in zip(sections[::2], sections[1::2], strict=True)
    ]


def release_before() -> Release:
    """The release that people upgrade from to this checkout."""
    return releases((ROOT / "CHANGELOG.md").read_text())[1]


def is_in_this_clone(commit: str) -> bool:
    """False in a shallow clone that does not reach back to it, and in a copy without git."""
    command = ["git", "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
