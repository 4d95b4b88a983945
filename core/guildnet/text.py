"""Makes untrusted text safe for logs, statuses, files and commits. Pure."""

from __future__ import annotations

import re

# Control characters except tab and line feed, and lone surrogates, which UTF-8 cannot encode.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def clean_text(text: str, max_characters: int) -> str:
    """The text without control characters and lone surrogates, cut to `max_characters`."""
    return _UNFIT.sub(_REPLACEMENT, text[:max_characters].replace("\r\n", "\n"))
