"""Commits as values: what git log says of them, parsed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

MAX_MESSAGE_CHARS = 64 * 1024
_FIELDS = ("%H", "%P", "%an <%ae>", "%at", "%s", "%b", "%(trailers:only=true,unfold=true)")
LOG_FORMAT = "--format=" + "%x00".join(_FIELDS)


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit. `author` is `Name <mail>`, `when` the author's time in UTC, `trailers` in order,
    `body` at most 64 Ki characters."""

    sha: str
    parents: tuple[str, ...]
    author: str
    when: datetime
    subject: str
    body: str
    trailers: tuple[tuple[str, str], ...]

    def trailer_values(self, key: str) -> tuple[str, ...]:
        """The values of every trailer named `key` (any case)."""
        return tuple(value for name, value in self.trailers if name.lower() == key.lower())


def parse_log(output: bytes) -> Iterator[CommitInfo]:
    """The commits of `git log -z LOG_FORMAT`."""
    words = iter(output.decode("utf-8", "replace").split("\0"))
    while len(record := list(islice(words, len(_FIELDS)))) == len(_FIELDS):
        sha, parents, author, when, subject, body, trailers = record
        yield CommitInfo(
            sha=sha,
            parents=tuple(parents.split()),
            author=author[:1024],
            when=_time(when),
            subject=subject[:1024],
            body=body.strip("\n")[:MAX_MESSAGE_CHARS],
            trailers=tuple(_trailers(trailers)),
        )


def _time(seconds: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        # A commit may claim any time, also one that no calendar has.
        return datetime.fromtimestamp(0, UTC)


def _trailers(text: str) -> Iterator[tuple[str, str]]:
    for line in text[:MAX_MESSAGE_CHARS].splitlines():
        key, colon, value = line.partition(":")
        if colon:
            yield key.strip(), value.strip()
