"""Limits the unpacked size of a pack before git reads it.

``git index-pack`` limits its input, not the result: a few kilobytes can unpack to gigabytes, and
git holds each delta's result in memory. So the size of every object is read from the pack first,
in constant memory.
Format: git's Documentation/gitformat-pack.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import BinaryIO

MAX_OBJECTS = 500_000
MAX_OBJECT_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_FED_BYTES = 4 * 1024  # most objects are smaller; unused input is copied
_HASH_BYTES = 20
_OFFSET_DELTA, _REFERENCE_DELTA = 6, 7
_PLAIN = (1, 2, 3, 4)  # commit, tree, blob, tag


class PackRefused(ValueError):
    """The data is not a pack, or unpacks to more than the limit."""


@dataclass(frozen=True)
class PackSize:
    """``bytes`` is the unpacked size of all objects together."""

    objects: int
    bytes: int


def measure(file: BinaryIO, max_bytes: int) -> PackSize:
    """Measure the pack at the file's position. PackRefused above a limit."""
    reader = _Reader(file)
    head = reader.take(12)
    if head[:4] != b"PACK" or head[4:8] not in (b"\0\0\0\2", b"\0\0\0\3"):
        raise PackRefused("not a pack")
    objects = int.from_bytes(head[8:12], "big")
    if objects > MAX_OBJECTS:
        raise PackRefused(f"it has more than {MAX_OBJECTS} objects")
    total = 0
    for _ in range(objects):
        size = _object_size(reader)
        if size > MAX_OBJECT_BYTES:
            raise PackRefused(f"an object in it is larger than {MAX_OBJECT_BYTES} bytes")
        total += size
        if total > max_bytes:
            raise PackRefused(f"it unpacks to more than {max_bytes} bytes")
    return PackSize(objects, total)


def _object_size(reader: _Reader) -> int:
    """Read past one object; return its unpacked size, for a delta that of its result."""
    byte = reader.byte()
    kind, stored, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        byte = reader.byte()
        stored |= (byte & 0x7F) << shift
        shift = _next_shift(shift)
    if kind == _OFFSET_DELTA:
        while reader.byte() & 0x80:
            pass
    elif kind == _REFERENCE_DELTA:
        reader.take(_HASH_BYTES)
    elif kind not in _PLAIN:
        raise PackRefused("an object in it is of an unknown type")
    if stored > MAX_OBJECT_BYTES:
        return stored
    begin = reader.inflate(stored)
    return stored if kind in _PLAIN else max(stored, _result_size(begin))


def _result_size(begin: bytes) -> int:
    """The second number of a delta: the size of its result."""
    sizes, at = [], 0
    for _ in range(2):
        size = shift = 0
        while True:
            if at >= len(begin):
                raise PackRefused("a delta in it is cut off")
            byte, at = begin[at], at + 1
            size |= (byte & 0x7F) << shift
            shift = _next_shift(shift)
            if not byte & 0x80:
                break
        sizes.append(size)
    return sizes[1]


def _next_shift(shift: int) -> int:
    if shift > 56:
        raise PackRefused("a size in it is invalid")
    return shift + 7


class _Reader:
    """Reads the pack in pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._piece = b""
        self._at = 0

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        while len(self._piece) - self._at < count:
            self._fill()
        self._at += count
        return self._piece[self._at - count : self._at]

    def inflate(self, size: int) -> bytes:
        """Read past a compressed object of ``size`` bytes; return its first 32 bytes."""
        inflater = zlib.decompressobj()
        begin, count = b"", 0
        try:
            while not inflater.eof:
                if self._at == len(self._piece):
                    self._fill()
                fed = self._piece[self._at : self._at + _FED_BYTES]
                data = inflater.decompress(fed, _PIECE_BYTES)
                rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                self._at += len(fed) - len(rest)
                begin = begin or data[:32]
                count += len(data)
                if count > size:
                    raise PackRefused("an object in it is larger than its header says")
        except zlib.error as error:
            raise PackRefused(f"an object in it cannot be unpacked: {error}") from error
        if count != size:
            raise PackRefused("an object in it is smaller than its header says")
        return begin

    def _fill(self) -> None:
        piece = self._file.read(_PIECE_BYTES)
        if not piece:
            raise PackRefused("it is cut off")
        self._piece, self._at = self._piece[self._at :] + piece, 0
