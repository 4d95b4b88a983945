"""Jinja2, always escaping, and the few words that templates format values with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2

from guildnet.digest import sha256_hex
from guildnet.units import parse_time
from guildnet_dashboard.states import (
    State,
    commit_address,
    naming,
    pull_request_link,
    text,
    web_address,
)

_PACKAGE = Path(__file__).parent
STATIC = _PACKAGE / "static"
TEMPLATES = _PACKAGE / "templates"

STATE_LABELS = {
    State.STALLED: "Stalled",
    State.INVALID: "Invalid",
    State.RUNNING: "Running",
    State.STARTING: "Starting",
    State.QUEUED: "Queued",
    State.PENDING: "Pending",
    State.SUSPENDED: "Suspended",
    State.FAILED: "Failed",
    State.CANCELLED: "Cancelled",
    State.SUCCEEDED: "Succeeded",
    State.UNREADABLE: "Unreadable",
}


def _build() -> str:
    """Changes with any template or static file, so that no browser mixes two versions."""
    files = sorted([*TEMPLATES.iterdir(), *STATIC.iterdir()])
    return sha256_hex(b"".join(path.read_bytes() for path in files if path.is_file()))[:12]


BUILD = _build()


class Renderer:
    """Renders templates of this package."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"build": BUILD, "STATE_LABELS": STATE_LABELS}
        self._environment.filters |= {
            "moment": moment,
            "naming": naming,
            "size": size,
            "web_address": web_address,
            "pull_request": pull_request_link,
            "commit_address": commit_address,
            "plain": plain,
        }

    def page(self, template: str, values: Mapping[str, Any]) -> bytes:
        """The template with `values`. `link` in it keeps `?at=` from page to page."""
        at = values.get("at")

        def link(path: str, **query: Any) -> str:
            return link_to(path, {**query, **({"at": at} if at else {})})

        frame = {"duration": duration, "text": text, "link": link}
        return self._environment.get_template(template).render({**frame, **values}).encode()


def link_to(path: str, query: Mapping[str, Any]) -> str:
    """A path of ours with a query; None and "" are left out, lists are repeated."""
    kept = {key: value for key, value in query.items() if value not in (None, "", (), [])}
    return quote(path) + ("?" + urlencode(kept, doseq=True) if kept else "")


def moment(value: datetime | str) -> tuple[str, str]:
    """(for machines, for people) of a time; ("", the text itself) for what is none."""
    try:
        time = parse_time(value) if isinstance(value, str) else value
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return "", str(value)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ"), time.strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(start: str, end: str) -> str:
    """How long from one recorded time to another: `42 s`, `3 min 5 s`, `2 h 10 min`; or ""."""
    try:
        seconds = int((parse_time(end) - parse_time(start)).total_seconds())
    except ValueError:
        return ""
    if seconds < 0:
        return ""
    minutes, hours = seconds // 60, seconds // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def size(count: int) -> str:
    return f"{count:,} bytes" if count < 10_240 else f"{count / 1024:,.0f} KiB"


def plain(value: Any) -> str:
    """Any recorded value as text; "" for none."""
    return "" if value is None else str(value)
