"""Canonical JSON and its digests: equal values give equal bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Compact UTF-8 JSON with sorted keys: the input of digests and signatures."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def readable_json(value: Any) -> bytes:
    """JSON for files in git: sorted keys, two spaces of indentation, a final newline."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    # UTF-8 cannot encode half a surrogate pair; a replacement is better than no file.
    return text.encode(errors="replace") + b"\n"


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """`sha256:<hex>` of the canonical JSON."""
    return "sha256:" + sha256_hex(canonical_json(value))
