"""Unexpected errors: whether to retry, how to describe them, and their condition. Pure."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

from guildnet import conditions
from guildnet.conditions import Condition
from guildnet.errors import GuildNetError, KubeError, KubeForbidden, KubeInvalid
from guildnet.redact import strip_urls
from guildnet.text import clean_text
from guildnet_operator.views import TaskView

INTERNAL_ERROR = "InternalError"
_OWN_PACKAGES = ("guildnet", "guildnet_operator")
_MAX_TEXT = 300


def is_transient(error: BaseException) -> bool:
    """Whether the next try may succeed: the API server was unavailable, or another client changed
    the object first."""
    return isinstance(error, KubeError) and not isinstance(error, KubeForbidden | KubeInvalid)


def describe_error(error: BaseException) -> str:
    """What happened, where in GuildNet's code, and what to do; without the secrets in URLs."""
    if isinstance(error, GuildNetError):
        return clean_text(strip_urls(str(error)), 2 * _MAX_TEXT)
    text = clean_text(strip_urls(_text(error)), _MAX_TEXT)
    return (
        f"{type(error).__name__} at {_location(error)}: {text}. This is an error in the operator, "
        "which tries again by itself; report it with the operator's log"
    )


def internal_error_status(
    task: TaskView, error: BaseException, now: datetime
) -> dict[str, Any] | None:
    """The AgentTask's status with the error as its Stalled condition; None for a finished run,
    whose status nothing may change (I7)."""
    status: Mapping[str, Any] = task.status
    if conditions.is_finished(status, task.run):
        return None
    message = describe_error(error)
    wanted = [
        Condition(conditions.RECONCILING, "False", INTERNAL_ERROR, message),
        Condition(conditions.STALLED, "True", INTERNAL_ERROR, message),
    ]
    before = status.get("conditions", ())
    merged = conditions.merged(before, wanted, generation=task.generation, now=now)
    return {**status, "conditions": merged}


def _text(error: BaseException) -> str:
    try:
        return str(error)[: 4 * _MAX_TEXT]
    except Exception:  # __str__ may be what raises
        return ""


def _location(error: BaseException) -> str:
    """The innermost line of GuildNet's own code in the traceback."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not set(PurePath(frame.filename).parts).isdisjoint(_OWN_PACKAGES)
    ]
    if not own:
        return "an unknown line"
    return f"{PurePath(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}"
