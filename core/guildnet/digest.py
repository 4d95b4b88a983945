"""Canonical JSON and its digests: the same state gives the same bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Compact, key-sorted UTF-8 JSON; what digests and signatures are taken over."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def readable_json(value: Any) -> bytes:
    """Key-sorted JSON indented by two spaces, ending in a newline; what files in git hold."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair has no UTF-8, and a file that cannot be written helps nobody.
    return text.encode(errors="replace") + b"\n"


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """`sha256:<hex>` of the canonical JSON."""
    return "sha256:" + sha256_hex(canonical_json(value))
