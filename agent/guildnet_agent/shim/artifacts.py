"""Copies the command's artifacts from its state folder to the exchange.

Secrets of the command are masked, because artifacts end up on the status branch. The supervisor
checks names and contents; here the copy is only bounded.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from guildnet.agent_api.artifacts import MAX_ARTIFACT_BYTES
from guildnet.redact import Redactor
from guildnet_agent.exchange import ExchangeRefused, list_names, read_regular, write_atomic

_MAX_FILES = 64
_MAX_MARK_BYTES = 1024
_Signature = tuple[int, int, int]


def forget_other_runs(state_dir: Path, trailer: str) -> None:
    """Empty the state folder if its files are of an earlier run in this pod."""
    mark = state_dir.with_name("run")
    try:
        known = read_regular(mark.parent, mark.name, _MAX_MARK_BYTES)
    except ExchangeRefused:
        known = b""
    if known not in (None, trailer.encode()):
        shutil.rmtree(state_dir, ignore_errors=True)
    state_dir.mkdir(parents=True, exist_ok=True)
    write_atomic(mark, trailer.encode())


class ArtifactCopier:
    """Copies each ``*.json`` that is new or has changed."""

    def __init__(self, source: Path, target: Path, redactor: Redactor) -> None:
        self._source = source
        self._target = target
        self._redactor = redactor
        self._seen: dict[str, _Signature] = {}

    def copy_changed(self) -> None:
        if not self._source.is_dir():
            return
        for name in list_names(self._source.parent, self._source.name, 10_000)[:10_000]:
            if name.endswith(".json") and (name in self._seen or len(self._seen) < _MAX_FILES):
                with contextlib.suppress(OSError):
                    self._copy(name)

    def _copy(self, name: str) -> None:
        status = os.lstat(self._source / name)
        signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._seen.get(name) == signature:
            return
        self._seen[name] = signature
        try:
            data = read_regular(self._source, name, MAX_ARTIFACT_BYTES)
        except ExchangeRefused:
            # Look again: a file that is being written may have grown.
            if os.lstat(self._source / name).st_size > MAX_ARTIFACT_BYTES:
                # With one byte over the limit the supervisor rejects it as too large.
                data = bytes(MAX_ARTIFACT_BYTES + 1)
            else:
                # With a folder in its place the supervisor rejects it as invalid.
                (self._target / name).mkdir(parents=True, exist_ok=True)
                return
        if data is not None:
            with contextlib.suppress(OSError):
                (self._target / name).rmdir()  # the folder that marked it as invalid before
            write_atomic(self._target / name, self._redacted(data))

    def _redacted(self, data: bytes) -> bytes:
        """Mask secrets, except in bytes that are not UTF-8: the supervisor rejects those."""
        try:
            return self._redactor(data.decode()).encode()
        except UnicodeDecodeError:
            return data
