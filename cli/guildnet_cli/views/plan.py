"""A plan as text for a terminal, and as Markdown for a pull request. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from guildnet_cli.output import printable
from guildnet_reconciler.offline import FieldChange, PlanRow

_SIGNS = {
    "create": "+",
    "update": "~",
    "delete": "-",
    "hold": "!",
    "quarantine": "!",
    "misplaced": "!",
}
# The signs that a Markdown diff block shows in colour.
_DIFF_SIGNS = {**_SIGNS, "update": "!", "warn": "!"}
_VALUE_CHARACTERS = 60
_NO_ORG = "files without an org"


def as_text(rows: Sequence[PlanRow]) -> str:
    """The plan org by org, and a summary line."""
    lines: list[str] = []
    for org in dict.fromkeys(row.org for row in rows):
        lines.append(org or _NO_ORG)
        for row in rows:
            if row.org == org:
                lines.append(f"  {_SIGNS.get(row.action, ' ')} {_headline(row)}")
                lines += [f"      {detail}" for detail in _details(row)]
        lines.append("")
    return "\n".join([*lines, f"Plan: {_summary(rows)}."])


def as_markdown(rows: Sequence[PlanRow]) -> str:
    """The same as a diff block under a heading. Text from files cannot break out of the block."""
    title = f"**GuildNet plan:** {_summary(rows)}."
    if not rows:
        return title
    lines = [title, "", "````diff"]
    for org in dict.fromkeys(row.org for row in rows):
        lines.append(f"@@ {org or _NO_ORG} @@")
        for row in rows:
            if row.org == org:
                lines.append(f"{_DIFF_SIGNS.get(row.action, ' ')} {_headline(row)}")
                lines += [f"#     {detail}" for detail in _details(row)]
    return "\n".join([*lines, "````"])


def _summary(rows: Sequence[PlanRow]) -> str:
    counts = {
        text: sum(row.action == action for row in rows)
        for action, text in (
            ("create", "to create"),
            ("update", "to change"),
            ("delete", "to delete"),
            ("quarantine", "quarantined"),
            ("misplaced", "misplaced"),
            ("warn", "cannot start"),
        )
    }
    held = sum(bool(row.held) or row.action == "hold" for row in rows)
    parts = [f"{number} {text}" for text, number in {**counts, "held": held}.items() if number]
    return ", ".join(parts) or "nothing to do"


def _headline(row: PlanRow) -> str:
    reason = f"  ({printable(row.reason)})" if row.reason else ""
    return f"{row.action} {printable(row.task or row.org)}{reason}"


def _details(row: PlanRow) -> Iterator[str]:
    for change in row.fields:
        old, new = _values(change)
        yield f"{printable(change.path)}: {old} -> {new}"
    if row.held:
        yield f"held: {printable(row.held)}"


def _values(change: FieldChange) -> tuple[str, str]:
    """Old and new value on one line each, cut to start shortly before their first difference."""
    old, new = _written(change.old), _written(change.new)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    start = max(same - _VALUE_CHARACTERS // 3, 0)
    return _cut(old, start), _cut(new, start)


def _written(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text) or '""'


def _cut(text: str, start: int) -> str:
    end = start + _VALUE_CHARACTERS
    return ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
