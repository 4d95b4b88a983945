"""Parses commit objects, with bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

MAX_COMMIT_BYTES = 128 * 1024
"""The part of a commit that is read, headers and message together."""
MAX_MESSAGE_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit. `author` is `Name <mail>`, `when` the author's time in UTC, `message` at most
    64 Ki characters."""

    sha: str
    parents: tuple[str, ...]
    author: str
    when: datetime
    message: str

    @property
    def subject(self) -> str:
        """The first paragraph, in one line of at most 1,024 characters."""
        return self._paragraphs()[0].replace("\n", " ")[:1024]

    @property
    def body(self) -> str:
        """The message after its first paragraph."""
        return self._paragraphs()[1]

    def trailer_values(self, key: str) -> tuple[str, ...]:
        """The value of every line `KEY: VALUE` (any case) of the message.

        The line may be in any paragraph: forges that squash a pull request join the messages
        of its commits and put lines of their own below them.
        """
        line = rf"^[ \t]*{re.escape(key)}[ \t]*:[ \t]*(\S.*?)?[ \t\r]*$"
        found = re.finditer(line, self.message, re.IGNORECASE | re.MULTILINE)
        return tuple(match[1] or "" for match in found)

    def _paragraphs(self) -> tuple[str, str]:
        lines = re.sub(r"\r\n?", "\n", self.message).strip("\n")
        first, *rest = re.split(r"\n[ \t]*\n", lines, maxsplit=1)
        return first, "".join(rest).strip("\n")


def parse_commit(sha: str, data: bytes) -> CommitInfo:
    """Parse the commit in `data`: git's object, or its first bytes."""
    head, _, message = data.partition(b"\n\n")
    headers = [line.partition(b" ")[::2] for line in head.split(b"\n")]
    named = dict(reversed(headers))  # the first of a name counts
    author, _, time = named.get(b"author", b"").decode("utf-8", "replace").rpartition("> ")
    return CommitInfo(
        sha=sha,
        parents=tuple(oid.decode("ascii", "replace") for name, oid in headers if name == b"parent"),
        author=f"{author}>"[:1024] if author else "",
        when=_time(time.partition(" ")[0]),
        message=_text(message, named.get(b"encoding", b"utf-8"))[:MAX_MESSAGE_CHARS],
    )


def _text(data: bytes, encoding: bytes) -> str:
    # Only encodings that commits use: some of Python's codecs are slow or do not encode text.
    name = encoding.decode("ascii", "replace").lower()
    is_known = re.fullmatch(r"iso-8859-(1|2|7|15)|latin-?1|windows-125[0-8]|koi8-r", name)
    return data.decode(name if is_known else "utf-8", "replace")


def _time(seconds: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        # A commit can claim any time, also one outside the calendar.
        return datetime.fromtimestamp(0, UTC)
