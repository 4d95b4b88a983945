"""Removes secrets from text before it reaches a log, a status, an event, a commit or a page (I8).

The only module that masks secrets. A `Redactor` knows the values of secrets. `strip_urls` and
`hide_user_info` need no values: they remove the parts of URLs that can hold a secret. Text that
leaves a transport, errors above all, goes through `Redactor.message`, which does both.

Standard library only, because the work side of the agent runs it too. A value is found as it is,
in base64 (at any alignment, so also inside ``user:token``), URL-encoded, and as JSON encodes it. A
program can hide a secret in other ways; this module does not detect them.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 4  # masking shorter values would make ordinary text unreadable
_SHORTEST_ENCODED = 6
# Forms are looked up by their first characters (the anchor), so that the cost does not grow with
# the number of forms. Longer forms use a longer anchor, which ordinary text rarely matches.
_ANCHORS = (_SHORTEST, 16)
# Only ASCII white space ends a word: a password can contain a no-break space.
_WORD = re.compile(r"[^ \t\n\r\f\v]+")
_QUERY = re.compile(r"[?#]")
_PUNCTUATION = "'\"`<>()[]{},.;:!"


# So many anchors are searched one after the other, by the text's own search; more of them are
# looked up at every place, at a cost that does not depend on their number.
_SEARCHED_ANCHORS = 32


class Redactor:
    """Replaces the given secret values, in all their known forms, by ``***``.

    The cost of a text is linear in its length, whatever the number and size of the values.
    """

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in _forms(value)}
        self._longest = max(map(len, forms), default=0)
        self._tables = tuple(
            _Table(size, chosen)
            for size, limit in zip(_ANCHORS, (*_ANCHORS[1:], self._longest + 1), strict=True)
            if (chosen := [form for form in forms if size <= len(form) < limit])
        )

    def __call__(self, text: str) -> str:
        """`text` with the known values masked."""
        if not self._tables:
            return text
        return _masked(text, self._matches(text), len(text))[0]

    def message(self, text: str) -> str:
        """`text` in a form that may leave a transport: known values masked, URLs without user
        information, query and fragment, and only characters that UTF-8 can encode."""
        encodable = text.encode("utf-8", "replace").decode()
        return strip_urls(self(encodable))

    def stream(self) -> RedactedStream:
        """A filter for text that comes in pieces."""
        return RedactedStream(self)

    def split(self, text: str) -> tuple[str, str]:
        """(redacted text that can be shown now, the tail that may be the start of a secret)."""
        if not self._tables:
            return text, ""
        shown, at = _masked(text, self._matches(text), self._open_tail(text))
        return shown, text[at:]

    def _matches(self, text: str) -> Iterator[tuple[int, int]]:
        """(start, end) of each known form in the text: the longest at each position, without
        overlaps."""
        starts = sorted({at for table in self._tables for at in table.anchors(text)})
        shown_to = 0
        for at in starts:
            if at >= shown_to:
                end = max(table.match(text, at) for table in self._tables)
                if end > at:
                    yield at, end
                    shown_to = end

    def _open_tail(self, text: str) -> int:
        """The start of the longest tail that more text could complete to a secret."""
        first = max(0, len(text) - self._longest + 1)
        return min((table.open_tail(text, first) for table in self._tables), default=len(text))


class _Table:
    """Forms of at least `size` characters, looked up by their first `size` characters."""

    def __init__(self, size: int, forms: Iterable[str]) -> None:
        self._size = size
        self._forms: list[str] = sorted(forms)
        self._longest = max(len(form) for form in self._forms)
        self._anchors = frozenset(form[:size] for form in self._forms)
        self._shorter = self._longest_prefixes()

    def _longest_prefixes(self) -> list[int]:
        """For each form, the index of the longest other form that is a prefix of it, or -1."""
        found: list[int] = []
        for index, form in enumerate(self._forms):
            other = index - 1
            while other >= 0 and not form.startswith(self._forms[other]):
                other = found[other]
            found.append(other)
        return found

    def anchors(self, text: str, first: int = 0) -> list[int]:
        """The positions from `first` on at which a form may start."""
        size, anchors = self._size, self._anchors
        if len(anchors) <= _SEARCHED_ANCHORS:
            return sorted(at for anchor in anchors for at in _places(anchor, text, first))
        last = len(text) - size
        return [at for at in range(first, last + 1) if text[at : at + size] in anchors]

    def match(self, text: str, at: int) -> int:
        """The end of the longest form that starts at `at`; `at` without one."""
        # Every form that is a prefix of the text is a prefix of the greatest form not after it.
        index = bisect_right(self._forms, text[at : at + self._longest]) - 1
        while index >= 0:
            if text.startswith(self._forms[index], at):
                return at + len(self._forms[index])
            index = self._shorter[index]
        return at

    def open_tail(self, text: str, first: int) -> int:
        """The first position from `first` on where the rest of the text is a prefix of a form."""
        short = max(first, len(text) - self._size + 1)
        for at in chain(self.anchors(text, first), range(short, len(text))):
            tail = text[at:]
            index = bisect_right(self._forms, tail)
            if index < len(self._forms) and self._forms[index].startswith(tail):
                return at
        return len(text)


def _places(word: str, text: str, first: int) -> Iterator[int]:
    """Every place in the text, from `first` on, where the word begins."""
    at = text.find(word, first)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


def _masked(text: str, matches: Iterable[tuple[int, int]], cut: int) -> tuple[str, int]:
    """(the text up to `cut` with its matches masked, the position where it ends)."""
    shown: list[str] = []
    at = 0
    for start, end in matches:
        if start >= cut:
            break
        shown += [text[at:start], MASK]
        at = end
    end = max(cut, at)
    return "".join(shown) + text[at:end], end


class RedactedStream:
    """Redacts a stream so that a secret split over two pieces is still found."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that can be shown now; a possible start of a secret is held back."""
        shown, self._held = self._redactor.split(self._held + text)
        return shown

    def flush(self) -> str:
        """The held-back text, at the end of the stream."""
        held, self._held = self._held, ""
        return self._redactor(held)


def hide_user_info(text: str) -> str:
    """The text with the user information of each URL masked."""
    return _WORD.sub(lambda word: _without_user_info(word[0], f"{MASK}@"), text)


def strip_urls(text: str) -> str:
    """The text with each URL reduced: user information, query and fragment can hold tokens."""
    return _WORD.sub(lambda word: strip_url(word[0]), text)


def strip_url(url: str) -> str:
    """One URL, also an invalid one, without user information, query and fragment."""
    return _without_query(_without_user_info(url, ""))


def _without_user_info(word: str, instead: str) -> str:
    """A word with the user information of the URLs in it replaced by `instead`.

    RFC 3986 ends user information at the first of ``/?#``, but people paste passwords without
    escaping them. So an @ or a colon before the first slash, also a colon before a port, counts as
    user information up to the last @ of the word. This can mask too much, but never shows a secret.
    """
    last = word.rfind("@")
    at = word.find("://")
    while 0 <= at < last:
        begin = at + 3
        end = word.find("/", begin)
        authority = word[begin : end if end >= 0 else len(word)]
        if "@" in authority or ":" in authority:
            return word[:begin] + instead + word[last + 1 :]
        at = word.find("://", begin)
    return word


def _without_query(word: str) -> str:
    """The word without the query of its URL; closing quotation marks and punctuation stay."""
    scheme = word.find("://")
    cut = _QUERY.search(word, scheme) if scheme >= 0 else None
    if cut is None:
        return word
    rest = word[cut.end() :]
    end = rest[len(rest.rstrip(_PUNCTUATION)) :]
    return word[: cut.start()] + (f"?{MASK}" if cut[0] == "?" else "") + end


def _forms(value: str) -> set[str]:
    """The forms in which a secret can appear in text, also each line of a multi-line value."""
    parts = {value, value.strip(), *(line.strip() for line in value.splitlines())}
    forms: set[str] = set()
    for part in parts:
        if len(part) < _SHORTEST:
            continue
        encodable = part.encode("utf-8", "replace").decode()
        encoded = {quote(encodable, safe=""), quote(encodable), quote_plus(encodable)}
        in_json = {json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]}
        forms |= {part, *encoded, *map(_lower_escapes, encoded), *in_json}
        if len(part) >= _SHORTEST_ENCODED:
            forms |= _base64_forms(encodable.encode())
    return forms


def _lower_escapes(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), text)


def _base64_forms(data: bytes) -> set[str]:
    """Base64 of the data and, for each of three alignments, the digits that depend on it alone."""
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        forms |= {whole, whole.rstrip("=")}
        for before in range(3):
            first = (before * 8 + 5) // 6
            last = (before + len(data)) * 8 // 6
            forms.add(encode(bytes(before) + data).decode()[first:last])
    return {form for form in forms if len(form) >= _SHORTEST_ENCODED}
