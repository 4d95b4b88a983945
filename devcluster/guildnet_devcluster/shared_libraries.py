"""Finds the shared libraries of programs, to copy both into an image or another root folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path


def libraries(programs: Iterable[Path]) -> dict[str, Path]:
    """Each path at which the loader looks for a library of `programs` -> the file.

    Statically linked programs have none.
    """
    found: dict[str, Path] = {}
    for program in programs:
        listed = subprocess.run(
            ["ldd", str(program)], capture_output=True, check=False, text=True
        ).stdout
        for word in listed.split():
            if word.startswith("/"):
                found[word] = Path(word).resolve()
    return found
