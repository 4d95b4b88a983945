"""docs/dashboard.md documents every setting."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from guildnet_dashboard.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "dashboard.md"


def test_every_setting_is_documented() -> None:
    text = PAGE.read_text()
    assert [f.name for f in fields(Settings) if f"| `{f.name}` |" not in text] == []
