"""How a record reads to people: one state, why, since when, and where its pull request is. Pure.

Records are written by others and may be older or newer than this code, so nothing here raises
on what is in them: what does not fit is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from guildnet import conditions
from guildnet.redact import hide_user_info
from guildnet_dashboard.json_values import parse_object

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class State(StrEnum):
    """The one word a task is listed under, in the order people want to see them."""

    STALLED = "stalled"
    INVALID = "invalid"
    RUNNING = "running"
    STARTING = "starting"
    QUEUED = "queued"
    PENDING = "pending"
    SUSPENDED = "suspended"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    UNREADABLE = "unreadable"


ACTIVE = (State.STALLED, State.RUNNING, State.STARTING, State.QUEUED, State.PENDING)
_ORDER = {state: index for index, state in enumerate(State)}


def order(state: State) -> int:
    return _ORDER[state]


@dataclass(frozen=True, slots=True)
class Link:
    """A pull request as it is shown; `url` is None where it is no web address."""

    text: str
    url: str | None
    state: str


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What lists need of one `status.json`; `blob` is where the rest can be read.

    Times are as recorded (RFC 3339), "" where unknown; `updated` is the latest of them.
    """

    blob: str
    state: State
    reason: str = ""
    message: str = ""
    run: int = 0
    attempt: int = 0
    created: str = ""
    started: str = ""
    finished: str = ""
    updated: str = ""
    pull_request: Link | None = None


def summary_of(data: bytes, blob: str) -> TaskSummary:
    """The summary of a `status.json`'s bytes; UNREADABLE, with why, for what is no record."""
    try:
        content = parse_object(data)
    except ValueError as error:
        return TaskSummary(blob, State.UNREADABLE, "Unreadable", f"cannot be read: {error}")
    listed = condition_list(content)
    state, reason, message = _state(content, listed)
    times = [text(content, key) for key in ("createdAt", "startedAt", "finishedAt")]
    moved = [text(c, "lastTransitionTime") for c in listed]
    return TaskSummary(
        blob=blob,
        state=state,
        reason=reason,
        message=message,
        run=number(content, "run"),
        attempt=number(content, "attempt"),
        created=times[0],
        started=times[1],
        finished=times[2],
        updated=max([*times, *moved]),
        pull_request=pull_request_link(content.get("pullRequest")),
    )


def _state(content: Mapping[str, Any], listed: list[Mapping[str, Any]]) -> tuple[State, str, str]:
    result = text(content, "result")
    if result:
        state = {
            conditions.TASK_SUCCEEDED: State.SUCCEEDED,
            conditions.CANCELLED: State.CANCELLED,
        }.get(result, State.FAILED)
        return state, result, text(content, "message")

    def told(kind: str) -> tuple[str, str, str]:
        found = conditions.find(listed, kind) or {}
        return text(found, "status"), text(found, "reason"), text(found, "message")

    for kind, wanted, state in (
        (conditions.SUSPENDED, "True", State.SUSPENDED),
        (conditions.STALLED, "True", State.STALLED),
        (conditions.ACCEPTED, "False", State.STALLED),
        (conditions.READY, "True", State.RUNNING),
    ):
        status, reason, message = told(kind)
        if status == wanted:
            return state, reason, message
    status, reason, message = told(conditions.SCHEDULED)
    if status == "False":
        return State.QUEUED, reason, message
    status, reason, message = told(conditions.READY)
    if reason:
        return State.STARTING, reason, message
    if listed:
        return State.STARTING, "", ""
    return State.PENDING, "", "Waiting for the operator in the org's cluster."


def condition_list(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return mappings(content.get("conditions"))


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a list of them; [] for whatever is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(content: Mapping[str, Any], key: str) -> str:
    """`content[key]` where it is a string, else "" ."""
    value = content.get(key)
    return value if isinstance(value, str) else ""


def number(content: Mapping[str, Any], key: str) -> int:
    value = content.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def web_address(url: Any) -> str | None:
    """`url` where a browser may be sent there: http or https, a host, no user information."""
    if not isinstance(url, str) or len(url) > 2048 or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    return url


def pull_request_link(value: Any) -> Link | None:
    """How a `last_pr.json`, or only the URL of one, is shown; None where there is none."""
    if isinstance(value, str) and value:
        tail = value.rstrip("/").rpartition("/")[2]
        shown = f"#{tail}" if tail.isdigit() else hide_user_info(value)
        return Link(shown, web_address(value), "")
    if not isinstance(value, dict) or not value:
        return None
    repository, count = text(value, "repository"), number(value, "number")
    shown = f"{repository}#{count}" if count else text(value, "title") or "pull request"
    return Link(shown, web_address(value.get("url")), text(value, "state"))


def naming(words: str, link: Link | None) -> str:
    """`words` with the address of a pull request replaced by its name: the page links it once."""
    if link is None or link.url is None:
        return words
    return re.sub(re.escape(link.url.rstrip("/")) + r"/?(?![\w/?#-])", lambda _: link.text, words)


# Where a forge's pages of pull requests and of commits part.
_PAGES_OF = {
    "gitea": ("/pulls/", "/commit/"),
    "github": ("/pull/", "/commit/"),
    "gitlab": ("/-/merge_requests/", "/-/commit/"),
    "bitbucket": ("/pull-requests/", "/commits/"),
    "bitbucket-server": ("/pull-requests/", "/commits/"),
}


def commit_address(record: Mapping[str, Any]) -> str | None:
    """The page of a record's commit, next to that of its pull request; None where unknown."""
    pull_request, commit = record.get("pullRequest"), text(record, "commit")
    if not isinstance(pull_request, dict) or not _COMMIT.fullmatch(commit):
        return None
    url, pages = web_address(pull_request.get("url")), _PAGES_OF.get(text(pull_request, "provider"))
    if url is None or pages is None or pages[0] not in url:
        return None
    return url.rpartition(pages[0])[0] + pages[1] + commit


def tally_of(counts: Iterable[Mapping[State, int]]) -> dict[State, int]:
    """The sum of several counts, in the order of State."""
    total = dict.fromkeys(State, 0)
    for part in counts:
        for state, count in part.items():
            total[state] += count
    return total
