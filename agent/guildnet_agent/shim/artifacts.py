"""The command's artifacts, copied from its state folder to where the supervisor can read them.

They end on the status branch, so they are freed of the command's secrets as its log is.

Whether a name or a content is acceptable is for the supervisor to say; here is only what keeps
the copy bounded.
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
    """Empty the state folder of what an earlier run in this pod left there."""
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
    """Copies each ``*.json`` that is new or changed since the last call."""

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
            # Looked at anew: a file that is being written has grown since.
            if os.lstat(self._source / name).st_size > MAX_ARTIFACT_BYTES:
                # One byte more than allowed tells the supervisor that it is too large.
                data = bytes(MAX_ARTIFACT_BYTES + 1)
            else:
                # A folder in its place makes the supervisor refuse it by name.
                (self._target / name).mkdir(parents=True, exist_ok=True)
                return
        if data is not None:
            with contextlib.suppress(OSError):
                (self._target / name).rmdir()  # refused before, and in order now
            write_atomic(self._target / name, self._redacted(data))

    def _redacted(self, data: bytes) -> bytes:
        """What is not text is not JSON either: the supervisor refuses it as it is."""
        try:
            return self._redactor(data.decode()).encode()
        except UnicodeDecodeError:
            return data
