"""docs/dashboard.md documents every setting."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from guildnet_dashboard.settings import Settings, SignInSettings

PAGE = Path(__file__).parents[3] / "docs" / "dashboard.md"


def test_every_setting_is_documented() -> None:
    text = PAGE.read_text()
    names = [f.name for settings in (Settings, SignInSettings) for f in fields(settings)]
    assert [name for name in names if name != "sign_in" and f"| `{name}` |" not in text] == []
