"""Secrets out of text, before it reaches a log, a status, an event, a commit or a page (I8).

Standard library only: the work side of the agent runs it too. A value is found as it is, in its
base64 (at any alignment, so also inside ``user:token``), URL-encoded, and as JSON writes it. A
program that disguises a secret further is not stopped here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 4  # shorter values would shred ordinary text and are no secrets
_SHORTEST_ENCODED = 6
# Whatever stands before `://` is a scheme: with a word boundary there, `\x1b[31mhttps://` and
# `URL_https://` would slip through. User information runs to the last @, since a user's name may
# be an e-mail address.
_USER_INFO = re.compile(r"://[^\s/?#\"<>]*@")
_QUERY = re.compile(
    r"(?P<place>://[^\s?#'\"<>]*)(?P<query>\?[^\s#'\"<>]*)?(?P<fragment>#[^\s'\"<>]*)?"
)


class Redactor:
    """Replaces the given secret values, in all their known forms, by ``***``."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = sorted({form for value in values for form in _forms(value)}, key=_by_length)
        self._forms = tuple(forms)
        self._longest = max(map(len, forms), default=0)
        self._first = frozenset(form[0] for form in forms)
        self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def stream(self) -> RedactedStream:
        """A filter for text that comes in pieces."""
        return RedactedStream(self)

    def split(self, text: str) -> tuple[str, str]:
        """(what can be shown now, redacted; the tail that may be the beginning of a secret)."""
        if self._pattern is None:
            return text, ""
        cut = self._open_tail(text)
        shown: list[str] = []
        at = 0
        for match in self._pattern.finditer(text):
            if match.start() >= cut:
                break
            shown += [text[at : match.start()], MASK]
            at = match.end()
        cut = max(cut, at)
        return "".join(shown) + text[at:cut], text[cut:]

    def _open_tail(self, text: str) -> int:
        """Where the longest tail begins that more text could make into a secret."""
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[at] in self._first:
                tail = text[at:]
                if any(len(form) > len(tail) and form.startswith(tail) for form in self._forms):
                    return at
        return len(text)


class RedactedStream:
    """Redacts a stream so that a secret split over two pieces is still found."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that can be shown by now; what might begin a secret is held back."""
        shown, self._held = self._redactor.split(self._held + text)
        return shown

    def flush(self) -> str:
        """What was held back; nothing more will come."""
        held, self._held = self._held, ""
        return self._redactor(held)


def hide_user_info(text: str) -> str:
    """The text with the user information of each URL in it masked; the rest stays."""
    return _USER_INFO.sub(f"://{MASK}@", text)


def strip_urls(text: str) -> str:
    """Each URL in the text without user information, query and fragment: tokens live there."""

    def bare(match: re.Match[str]) -> str:
        return match["place"] + ("?" + MASK if match["query"] else "")

    return _QUERY.sub(bare, _USER_INFO.sub("://", text))


def _by_length(form: str) -> tuple[int, str]:
    return -len(form), form


def _forms(value: str) -> set[str]:
    """How a secret may stand in text. A value of several lines counts line by line as well."""
    parts = {value, value.strip(), *(line.strip() for line in value.splitlines())}
    forms: set[str] = set()
    for part in parts:
        if len(part) < _SHORTEST:
            continue
        encoded = {quote(part, safe=""), quote(part), quote_plus(part)}
        in_json = {json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
        forms |= {part, *encoded, *map(_lower_escapes, encoded), *in_json}
        if len(part) >= _SHORTEST_ENCODED:
            forms |= _base64_forms(part.encode())
    return forms


def _lower_escapes(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), text)


def _base64_forms(data: bytes) -> set[str]:
    """Base64 of the data and, for each of the three alignments, the digits that only it decides."""
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        forms |= {whole, whole.rstrip("=")}
        for before in range(3):
            first = (before * 8 + 5) // 6
            last = (before + len(data)) * 8 // 6
            forms.add(encode(bytes(before) + data).decode()[first:last])
    return {form for form in forms if len(form) >= _SHORTEST_ENCODED}
