"""An error that nobody foresaw, as the condition of the AgentTask it happened to. Pure."""

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


def is_passing(error: BaseException) -> bool:
    """Whether the error is of a kind that the next try may not meet: an API server that is away,
    or an object that somebody else changed first."""
    return isinstance(error, KubeError) and not isinstance(error, KubeForbidden | KubeInvalid)


def described(error: BaseException) -> str:
    """The error, where in GuildNet it happened, and what to do, without secrets in URLs."""
    if isinstance(error, GuildNetError):
        return clean_text(strip_urls(str(error)), 2 * _MAX_TEXT)
    text = clean_text(strip_urls(_text(error)), _MAX_TEXT)
    return (
        f"{type(error).__name__} at {_place(error)}: {text}. This is a fault of the operator; it "
        "tries again by itself. See its log, and report it"
    )


def faulty_status(task: TaskView, error: BaseException, now: datetime) -> dict[str, Any] | None:
    """The AgentTask's status with the error in it; None where a result stands that nothing may
    change any more (I7)."""
    status: Mapping[str, Any] = task.status
    if conditions.is_finished(status, task.run):
        return None
    message = described(error)
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
    except Exception:  # an exception may be as broken as what raised it
        return ""


def _place(error: BaseException) -> str:
    """The innermost line of GuildNet's own code that the error came through."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not set(PurePath(frame.filename).parts).isdisjoint(_OWN_PACKAGES)
    ]
    if not own:
        return "an unknown place"
    return f"{PurePath(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}"
