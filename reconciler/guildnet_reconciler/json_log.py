"""The reconciler's log: each line says at which revision it was written."""

from __future__ import annotations

import logging
from collections.abc import Callable

from guildnet import json_log


def log_to_stderr(revision: Callable[[], str | None]) -> None:
    """Send the reconciler's logs to standard error, unless the process logs elsewhere already."""
    logger = logging.getLogger("guildnet_reconciler")
    json_log.log_to_stderr(logger, lambda: {"revision": revision()})
