"""docs/dashboard.md and the settings say the same."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from guildnet_dashboard.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "dashboard.md"


def test_every_setting_stands_in_the_docs() -> None:
    """House rule: a setting that is not documented does not exist."""
    text = PAGE.read_text()
    assert [f.name for f in fields(Settings) if f"| `{f.name}` |" not in text] == []
