"""The unpacked size of a pack is measured before git unpacks it (I9)."""

from __future__ import annotations

import hashlib
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_agent.supervisor.git import pack_limits as pack
from guildnet_agent.supervisor.git.pack_limits import PackRefused, PackSize, measure

COMMIT, BLOB, OFFSET_DELTA, REFERENCE_DELTA = 1, 3, 6, 7
LIMIT = 10 * 1024 * 1024


def entry(kind: int, size: int, content: bytes, between: bytes = b"") -> bytes:
    """An object as it is in a pack; ``size`` is the size in its header."""
    head = bytearray([kind << 4 | size & 15])
    size >>= 4
    while size:
        head[-1] |= 0x80
        head.append(size & 0x7F)
        size >>= 7
    return bytes(head) + between + zlib.compress(content)


def number(value: int) -> bytes:
    data = bytearray()
    while True:
        data.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(data)


def pack_of(*entries: bytes, count: int | None = None) -> io.BytesIO:
    body = b"PACK\0\0\0\2" + (len(entries) if count is None else count).to_bytes(4, "big")
    body += b"".join(entries)
    return io.BytesIO(body + hashlib.sha1(body, usedforsecurity=False).digest())


def test_plain_objects_count_with_their_size() -> None:
    large = bytes(300_000)
    file = pack_of(entry(COMMIT, 5, b"hello"), entry(BLOB, len(large), large), entry(BLOB, 0, b""))
    assert measure(file, LIMIT) == PackSize(3, 300_005)
    assert len(file.getvalue()) < 1000


def test_deltas_count_with_the_size_of_their_result() -> None:
    """A delta of a few bytes can declare a result of gigabytes."""
    delta = number(100) + number(5_000_000) + b"\x80"
    near = entry(OFFSET_DELTA, len(delta), delta, b"\x81\x10")
    far = entry(REFERENCE_DELTA, len(delta), delta, bytes(20))
    assert measure(pack_of(near), LIMIT) == PackSize(1, 5_000_000)
    assert measure(pack_of(near, far), LIMIT) == PackSize(2, 10_000_000)
    with pytest.raises(PackRefused, match=f"unpacks to more than {LIMIT} bytes"):
        measure(pack_of(near, far, near), LIMIT)


def test_an_object_that_is_too_large_is_refused() -> None:
    delta = number(100) + number(pack.MAX_OBJECT_BYTES + 1)
    with pytest.raises(PackRefused, match="an object in it is larger than"):
        measure(pack_of(entry(OFFSET_DELTA, len(delta), delta, b"\1")), 2**40)
    with pytest.raises(PackRefused, match="an object in it is larger than"):
        measure(pack_of(entry(BLOB, pack.MAX_OBJECT_BYTES + 1, b"")), 2**40)


def test_too_many_objects_are_refused_at_once() -> None:
    with pytest.raises(PackRefused, match=f"more than {pack.MAX_OBJECTS} objects"):
        measure(pack_of(count=pack.MAX_OBJECTS + 1), LIMIT)


@pytest.mark.parametrize(
    ("size", "content", "said"),
    [(3, b"hello", "larger than its header says"), (9, b"hello", "smaller than its header says")],
)
def test_an_object_with_a_wrong_size_is_refused(size: int, content: bytes, said: str) -> None:
    with pytest.raises(PackRefused, match=said):
        measure(pack_of(entry(BLOB, size, content)), LIMIT)


def test_reading_an_endless_object_stops_at_its_size() -> None:
    """Only as much is unpacked as the header declares."""
    with pytest.raises(PackRefused, match="larger than its header says"):
        measure(pack_of(entry(BLOB, 10, bytes(200_000_000))), LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PACK",
        b"PACK\0\0\0\7\0\0\0\1",
        pack_of(count=3).getvalue(),
        pack_of(entry(BLOB, 5, b"hello")).getvalue()[:14],
        b"PACK\0\0\0\2\0\0\0\1" + b"\xbf" + b"\xff" * 20,
        pack_of(b"\x33not compressed").getvalue(),
        pack_of(entry(5, 1, b"x")).getvalue(),
        pack_of(entry(OFFSET_DELTA, 1, b"\xff", b"\1")).getvalue(),
        pack_of(entry(OFFSET_DELTA, 20, b"\xff" * 20, b"\1")).getvalue(),
    ],
)
def test_other_data_is_refused(data: bytes) -> None:
    with pytest.raises(PackRefused):
        measure(io.BytesIO(data), LIMIT)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_measured(data: bytes) -> None:
    try:
        found = measure(io.BytesIO(b"PACK\0\0\0\2" + data), LIMIT)
    except PackRefused:
        return
    assert found.bytes <= LIMIT
