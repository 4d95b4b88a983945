"""Logs as lines of JSON, with what every line is about; secrets in URLs are taken out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from guildnet.redact import strip_urls

# What a record may carry by `extra`: whom the line is about.
SUBJECTS = ("org", "task", "run")

About = Callable[[], Mapping[str, object]]


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what `about` says now, SUBJECTS."""

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
        if record.exc_info:
            line["exception"] = strip_urls(self.formatException(record.exc_info))
        return json.dumps({key: value for key, value in line.items() if value is not None})


def log_to_stderr(logger: logging.Logger, about: About, level: int = logging.INFO) -> None:
    """Send a logger's lines to standard error, unless the process logs elsewhere already."""
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(about))
    logger.addHandler(handler)
    logger.setLevel(level)
