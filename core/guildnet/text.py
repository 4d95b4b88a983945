"""Text of strangers made fit for logs, statuses, files and commits. Pure."""

from __future__ import annotations

import re

# Control characters but tab and line feed, and lone surrogates, which UTF-8 cannot hold.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def clean_text(text: str, max_characters: int) -> str:
    """The text without what a terminal obeys or UTF-8 cannot hold, cut to `max_characters`."""
    return _UNFIT.sub(_REPLACEMENT, text[:max_characters].replace("\r\n", "\n"))
