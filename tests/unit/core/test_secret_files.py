"""Secrets in files, as tools of any system write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.secret_files import decode_secret


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r", " \t\n\n"])
def test_only_the_secret_itself_counts(encoding: str, end: str) -> None:
    assert decode_secret(f"tök en{end}".encode(encoding)) == "tök en"


def test_lines_end_as_programs_expect_it() -> None:
    assert decode_secret(b"-----BEGIN\r\nabc\r\n-----END\r\n") == "-----BEGIN\nabc\n-----END"


@given(st.binary(max_size=50))
def test_any_bytes_are_a_secret_or_refused(data: bytes) -> None:
    try:
        found = decode_secret(data)
    except UnicodeDecodeError:
        return
    assert found == found.strip()
    assert "\r" not in found
