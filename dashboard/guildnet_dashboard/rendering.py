"""Renders Jinja2 templates, always escaped, and formats values for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2

from guildnet.digest import sha256_hex
from guildnet.record import usage_text
from guildnet.units import parse_time
from guildnet_dashboard.json_values import text
from guildnet_dashboard.links import commit_address, pull_request_link, web_address, with_short_link
from guildnet_dashboard.states import State

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
    State.BUDGET_EXCEEDED: "Budget exceeded",
    State.CANCELLED: "Cancelled",
    State.SUCCEEDED: "Succeeded",
    State.UNREADABLE: "Unreadable",
}


def _build() -> str:
    """A digest of all templates and static files, so that browsers never mix two versions."""
    files = sorted([*TEMPLATES.iterdir(), *STATIC.iterdir()])
    return sha256_hex(b"".join(path.read_bytes() for path in files if path.is_file()))[:12]


BUILD = _build()


class Renderer:
    """Renders the templates of this package."""

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
            "format_time": format_time,
            "with_short_link": with_short_link,
            "size": size,
            "web_address": web_address,
            "pull_request": pull_request_link,
            "commit_address": commit_address,
            "plain": plain,
            "usage": usage_text,
        }

    def page(self, template: str, values: Mapping[str, Any]) -> bytes:
        """Render a template. The function `link` in it keeps the parameter `at` in links."""
        at = values.get("at")

        def link(path: str, **query: Any) -> str:
            return link_to(path, {**query, **({"at": at} if at else {})})

        frame = {"duration": duration, "text": text, "link": link}
        return self._environment.get_template(template).render({**frame, **values}).encode()


def link_to(path: str, query: Mapping[str, Any]) -> str:
    """A path with a query string; empty values are left out, lists become repeated parameters."""
    kept = {key: value for key, value in query.items() if value not in (None, "", (), [])}
    return quote(path) + ("?" + urlencode(kept, doseq=True) if kept else "")


def format_time(value: datetime | str) -> tuple[str, str]:
    """Return (RFC 3339, text to show); ("", the value itself) for an invalid time."""
    try:
        time = parse_time(value) if isinstance(value, str) else value
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return "", str(value)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ"), time.strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(start: str, end: str) -> str:
    """The time between two recorded times: `42 s`, `3 min 5 s`, `2 h 10 min`; "" if unknown."""
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
    """Any recorded value as text; "" for None."""
    return "" if value is None else str(value)
