"""A form that carries one JSON document, decoded while it arrives. Pure."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

_HEX = frozenset(b"0123456789abcdefABCDEF")


class FormField:
    """Decodes the field `name` of an `application/x-www-form-urlencoded` body that begins with it.

    Anything else decodes to nothing, at no cost: forges send no other field before it.
    """

    def __init__(self, name: bytes) -> None:
        self._prefix = name + b"="
        self._rest = b""  # of the prefix, or of an escape that a chunk's end cut
        self._is_open = False
        self._is_over = False

    def add(self, chunk: bytes) -> bytes:
        """What `chunk` adds to the field's decoded value."""
        if self._is_over:
            return b""
        value = self._rest + chunk
        if not self._is_open:
            if len(value) < len(self._prefix):
                self._rest = value
                return b""
            self._is_open = value.startswith(self._prefix)
            self._is_over = not self._is_open
            value = value[len(self._prefix) :]
        if self._is_over:
            return b""
        value, ampersand, _ = value.partition(b"&")
        self._is_over = bool(ampersand)
        cut = len(value) if self._is_over else _whole_escapes(value)
        self._rest = value[cut:]
        return unquote_to_bytes(value[:cut].replace(b"+", b" "))


def _whole_escapes(value: bytes) -> int:
    """Where to cut so that no escape (`%2B`) is cut through."""
    at = value.rfind(b"%", max(0, len(value) - 2))
    return at if at >= 0 and _HEX.issuperset(value[at + 1 :]) else len(value)
