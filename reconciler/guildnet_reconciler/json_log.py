"""Logs as lines of JSON, with what every line is about; secrets in URLs are taken out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from guildnet.redact import strip_urls


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, revision."""

    def __init__(self, revision: Callable[[], str | None]) -> None:
        super().__init__()
        self._revision = revision

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": strip_urls(record.getMessage()),
            "revision": self._revision(),
            "org": getattr(record, "org", None),
        }
        if record.exc_info:
            line["exception"] = strip_urls(self.formatException(record.exc_info))
        return json.dumps({key: value for key, value in line.items() if value is not None})


def log_to_stderr(revision: Callable[[], str | None]) -> None:
    """Send the reconciler's logs to standard error, unless the process logs elsewhere already."""
    logger = logging.getLogger("guildnet_reconciler")
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(revision))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
