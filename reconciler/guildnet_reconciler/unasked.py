"""The orgs whose cluster was silent when the status branch was made, kept until each answers.

A cluster may remember an earlier status branch. Silence is no "no": such an org begins nothing
before its own cluster has been asked, and keeps no other org waiting (I3, I7).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

MAX_BYTES = 256 * 1024


class Unasked:
    """A set of org names in a file of the state directory."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._orgs = _read(file)

    def __contains__(self, org: str) -> bool:
        return org in self._orgs

    def put(self, orgs: Iterable[str]) -> None:
        """Remember exactly these."""
        self._orgs = set(orgs)
        self._write()

    def answered(self, org: str) -> None:
        """Forget one: its cluster remembers nothing."""
        if org in self._orgs:
            self._orgs.discard(org)
            self._write()

    def _write(self) -> None:
        if not self._orgs:
            self._file.unlink(missing_ok=True)
            return
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(sorted(self._orgs)))
        os.replace(draft, self._file)


def _read(file: Path) -> set[str]:
    try:
        with file.open("rb") as opened:
            return {str(org) for org in json.loads(opened.read(MAX_BYTES))}
    except (OSError, ValueError, TypeError):
        return set()
