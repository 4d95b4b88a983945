"""Reads files that hold a secret, as editors and tools of any system write them.

Windows PowerShell starts a file with a byte order mark, or writes UTF-16, and ends lines with CR
LF. None of that is part of a token or a key.
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.state_folder import write_private

log = logging.getLogger(__name__)

FileStamp = tuple[int, int, int]

MAX_SECRET_BYTES = 64 * 1024
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode_secret(data: bytes) -> str:
    """The text of a secret, without byte order mark and surrounding white space, lines ending in
    LF. Raises UnicodeDecodeError."""
    text = data.decode("utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip().strip("\ufeff")


def read_secret(path: Path) -> str | None:
    """The secret in a file; None for a missing file. Raises ConfigurationError for one that cannot
    be read or is larger than 64 KiB."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
        if len(data) > MAX_SECRET_BYTES:
            raise ConfigurationError(
                f"this file has more than {MAX_SECRET_BYTES} bytes", place=str(path)
            )
        return decode_secret(data)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"this secret cannot be read: {error}", place=str(path)) from error


class FollowedSecret:
    """A secret that is read again when its file is replaced, as the kubelet does with the files of
    a mounted Secret. While a new file is unusable, the last value stays in use."""

    def __init__(self, path: Path, read: Callable[[Path], str]) -> None:
        """`read` returns the secret of a file, and raises ConfigurationError for an unusable
        one: it is called now, and again after each change."""
        self._path = path
        self._read = read
        self._stamp = file_stamp(path)
        self._value = read(path)

    def __call__(self) -> str:
        """The value in use."""
        stamp = file_stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._value = self._read(self._path)
                log.info("%s was replaced: the new value is in use", self._path)
            except ConfigurationError as error:
                log.error("the value before stays in use: %s", error)
        return self._value


def file_stamp(path: Path) -> FileStamp | None:
    """What differs once the file is replaced or rewritten; None for a missing file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def key_file(path: Path, copy: Path) -> Path:
    """A file with this private key that ssh accepts: `path` itself, or a `copy` that only its
    owner can read and whose lines all end in LF.

    ssh refuses a mounted Secret that its group can read, and keys without a final newline.
    """
    text = read_secret(path)
    if text is None:
        return path
    wanted = f"{text}\n".encode()
    found = path.stat()
    if not found.st_mode & 0o077 and path.read_bytes() == wanted:
        return path
    if not copy.is_file() or copy.read_bytes() != wanted:
        write_private(copy, wanted)
    return copy
