"""Takes artifacts and the log from the exchange: checked, bounded, kept in the state folder.

The command wrote them, so they are untrusted. Only the supervisor writes ``last_pr.json`` and
``last_run.json``; files of the command with these names are rejected.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guildnet.agent_api.artifacts import (
    MAX_ARTIFACT_BYTES,
    MAX_ARTIFACTS,
    MAX_DOCUMENT_BYTES,
    OWN_DOCUMENTS,
    Artifact,
    RejectedArtifact,
    is_artifact_name,
)
from guildnet.agent_api.state import StartId
from guildnet.digest import readable_json, sha256_hex
from guildnet.redact import Redactor
from guildnet_agent.exchange import (
    ARTIFACTS,
    LOG,
    MAX_LOG_BYTES,
    OLD_LOG,
    ExchangeRefused,
    ExchangeTooLarge,
    list_names,
    read_regular,
    write_atomic,
)
from guildnet_agent.supervisor.strict_json import parse_strict
from guildnet_agent.supervisor.usage import USAGE, check_usage

_MAX_LISTED = 64
_MAX_REJECTED = 16


@dataclass(frozen=True)
class Collected:
    artifacts: tuple[Artifact, ...] = ()
    rejected: tuple[RejectedArtifact, ...] = ()


class ArtifactStore:
    """The artifacts in the supervisor's state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def clear(self) -> None:
        """Delete the artifacts of the previous start."""
        for path in self._folder.glob("*.json"):
            path.unlink()

    def write_own(self, name: str, value: Mapping[str, Any]) -> None:
        """``last_pr.json`` or ``last_run.json``. ValueError beyond 4 KiB."""
        data = readable_json(dict(value))
        if len(data) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"{name} is larger than {MAX_DOCUMENT_BYTES} bytes")
        write_atomic(self._folder / name, data)

    def read_usage(self, taken: Collection[Artifact]) -> dict[str, int | float]:
        """The usage that the command reported in ``usage.json``; empty without that file."""
        data = self.read(USAGE) if any(item.name == USAGE for item in taken) else None
        return {} if data is None else check_usage(parse_strict(data))

    def read(self, name: str) -> bytes | None:
        """An artifact's bytes; None if there is no artifact with that name."""
        if not is_artifact_name(name):
            return None
        try:
            return read_regular(self._folder, name, MAX_ARTIFACT_BYTES)
        except ExchangeRefused:
            return None

    def collect(self, exchange_out: Path, start: StartId) -> Collected:
        """Copy the artifacts that the command has written so far, by name, within the bounds."""
        artifacts: list[Artifact] = []
        rejected: list[RejectedArtifact] = []
        left = MAX_ARTIFACT_BYTES
        where = f"{start.folder}/{ARTIFACTS}"
        for name in list_names(exchange_out, where, _MAX_LISTED):
            if name.startswith("."):  # a file being written
                continue
            try:
                data = _read_artifact(exchange_out, where, name, left, len(artifacts))
            except _Rejected as reason:
                rejected.append(reason.artifact)
                continue
            left -= len(data)
            digest = sha256_hex(data)
            artifacts.append(Artifact(name, len(data), digest))
            if self._digest_of(name) != digest:
                write_atomic(self._folder / name, data)
        return Collected(tuple(artifacts), tuple(rejected[:_MAX_REJECTED]))

    def _digest_of(self, name: str) -> str | None:
        data = self.read(name)
        return sha256_hex(data) if data is not None else None


class _Rejected(Exception):
    def __init__(self, artifact: RejectedArtifact) -> None:
        super().__init__(artifact.message)
        self.artifact = artifact


def _read_artifact(root: Path, where: str, name: str, left: int, count: int) -> bytes:
    if name in OWN_DOCUMENTS:
        raise _invalid(name, "only the supervisor writes this file")
    if not is_artifact_name(name):
        raise _invalid(name, "the name must be up to 50 of a-z, 0-9 and _, then .json")
    if count >= MAX_ARTIFACTS:
        raise _too_large(name, f"more than {MAX_ARTIFACTS} artifacts")
    try:
        data = read_regular(root, f"{where}/{name}", MAX_ARTIFACT_BYTES)
    except ExchangeRefused as error:
        if isinstance(error, ExchangeTooLarge):
            raise _too_large(name, f"larger than {MAX_ARTIFACT_BYTES} bytes") from error
        raise _invalid(name, "not a regular file") from error
    if data is None:
        raise _invalid(name, "it was removed before it could be read")
    if len(data) > left:
        raise _too_large(name, f"all artifacts together exceed {MAX_ARTIFACT_BYTES} bytes")
    try:
        value = parse_strict(data)
    except ValueError as error:
        raise _invalid(name, f"not JSON: {str(error)[:200]}") from error
    try:
        if name == USAGE:
            check_usage(value)
    except ValueError as error:
        raise _invalid(name, str(error)) from error
    return data


def _invalid(name: str, message: str) -> _Rejected:
    return _Rejected(RejectedArtifact(_shown(name), "Invalid", message))


def _too_large(name: str, message: str) -> _Rejected:
    return _Rejected(RejectedArtifact(_shown(name), "TooLarge", message))


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:60]


def read_log(exchange_out: Path, start: StartId, redact: Redactor, max_bytes: int) -> str:
    """The end of a start's log, redacted again with the secrets that only the supervisor knows."""
    pieces = []
    for name in (OLD_LOG, LOG):
        try:
            data = read_regular(exchange_out, f"{start.folder}/{name}", MAX_LOG_BYTES)
        except ExchangeRefused:
            data = b"guildnet: the log in the exchange is not a regular file within its bound\n"
        pieces.append(data or b"")
    text = redact(b"".join(pieces).decode(errors="replace"))
    return text.encode()[-max_bytes:].decode(errors="ignore") if max_bytes > 0 else ""
