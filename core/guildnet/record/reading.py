"""Reads the files of the status branch: which there are, their bytes, and the records in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from guildnet.record.files import OrgRecord, Removed, TaskRecord
from guildnet.record.paths import (
    MAX_RECORD_BYTES,
    STATUS_ROOT,
    Kind,
    StatusFile,
    org_folder,
    parse_status_path,
)


class Repository(Protocol):
    """What reading needs of a mirror."""

    def index(self, commit: str, prefixes: Sequence[str] = ...) -> Mapping[str, str]:
        """Path to blob id of the regular files below the prefixes."""
        ...

    def read_blobs(
        self, ids: Iterable[str], *, max_bytes: int
    ) -> Iterator[tuple[str, int, bytes | None]]:
        """(id, size, content) in the order of `ids`; content None for a larger blob."""
        ...


class InvalidRecord(ValueError):
    """A file of the branch is not the record that its path promises."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the branch as git has it; `content` is None above MAX_RECORD_BYTES."""

    file: StatusFile
    blob: str
    size: int
    content: bytes | None

    def record(self) -> OrgRecord | TaskRecord | Removed:
        """The record in the file. Raises InvalidRecord, saying why it cannot be read."""
        if self.content is None:
            raise InvalidRecord(too_large(self.size))
        return parse_record(self.file, self.content)


def records_at(repository: Repository, commit: str, org: str | None = None) -> Iterator[StoredFile]:
    """The files with records at a commit, of one org or of all, ordered by path."""
    index = repository.index(commit, [org_folder(org) if org else STATUS_ROOT])
    found = ((parse_status_path(path), index[path]) for path in sorted(index))
    return read_files(repository, [(f, blob) for f, blob in found if f is not None and f.is_record])


def read_files(
    repository: Repository, files: Sequence[tuple[StatusFile, str]]
) -> Iterator[StoredFile]:
    """The given (file, blob id) pairs with their content, in one batch and in the same order."""
    blobs = repository.read_blobs([blob for _, blob in files], max_bytes=MAX_RECORD_BYTES)
    for (file, blob), (_, size, content) in zip(files, blobs, strict=True):
        yield StoredFile(file, blob, size, content)


def parse_record(file: StatusFile, content: bytes) -> OrgRecord | TaskRecord | Removed:
    """The record in a file's bytes. Raises InvalidRecord, also for a record of another task."""
    try:
        parsed = json.loads(content)
        record = _from_json(file.kind, parsed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRecord(f"not a record: {type(error).__name__}") from error
    names = (record.org, "" if isinstance(record, OrgRecord) else record.task)
    if names != (file.org, file.task):
        raise InvalidRecord(f"a record of {'/'.join(filter(None, names))[:120]!a}")
    return record


def _from_json(kind: Kind, parsed: Mapping[str, object]) -> OrgRecord | TaskRecord | Removed:
    match kind:
        case Kind.ORG:
            return OrgRecord.from_json(parsed)
        case Kind.TASK:
            return TaskRecord.from_json(parsed)
        case Kind.REMOVED:
            return Removed.from_json(parsed)
        case Kind.ARTIFACT | Kind.LEDGER:
            raise TypeError("artifacts and ledgers are not records")


def too_large(size: int) -> str:
    """The message for a file above MAX_RECORD_BYTES."""
    return f"the file has {size:,} bytes; the limit is {MAX_RECORD_BYTES:,}"
