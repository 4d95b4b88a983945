"""Logs as lines of JSON, each with its org, task and run; secrets in URLs are removed."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from guildnet.errors import GuildNetError
from guildnet.redact import strip_urls

# The subject of a line, passed as `extra` of a log record.
SUBJECTS = ("org", "task", "run")

_MAX_CAUSES = 10

About = Callable[[], Mapping[str, object]]


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields of `about`, SUBJECTS."""

    def __init__(self, about: About) -> None:
        super().__init__()
        self._about = about

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": strip_urls(record.getMessage()),
            **self._about(),
            **{name: getattr(record, name, None) for name in SUBJECTS},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = strip_urls(_traced(record.exc_info[1]))
        return json.dumps({key: value for key, value in line.items() if value is not None})


def _traced(error: BaseException) -> str:
    """The traceback and message of an error and its causes.

    Below an error of ours only the types of a library's errors are shown: the adapter removed
    secrets from its own message, and the library's message still holds them.
    """
    found: list[str] = []
    cause: BaseException | None = error
    is_mapped = False
    while cause is not None and len(found) < _MAX_CAUSES:
        words = type(cause).__name__ if is_mapped else f"{type(cause).__name__}: {cause}"
        found.append("".join(traceback.format_tb(cause.__traceback__)) + words)
        if isinstance(cause, BaseExceptionGroup) and not is_mapped:
            found += [_traced(inner) for inner in cause.exceptions[:_MAX_CAUSES]]
        is_mapped = is_mapped or isinstance(cause, GuildNetError)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\nraised from:\n".join(found)


def log_to_stderr(logger: logging.Logger, about: About, level: int = logging.INFO) -> None:
    """Send a logger's lines to standard error, unless the process has log handlers already."""
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(about))
    logger.addHandler(handler)
    logger.setLevel(level)
