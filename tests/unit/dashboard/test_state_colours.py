"""Text has the contrast that WCAG 2.2 AA requires, 4.5 to 1, in both colour schemes."""

from __future__ import annotations

import re

import pytest

from guildnet_dashboard.rendering import STATIC

STYLE = (STATIC / "style.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
)
BACKGROUNDS = ("paper", "card", "hover")
PAIRS = [
    *[(text, background) for text in ("ink", "soft", "accent") for background in BACKGROUNDS],
    *[("faint", background) for background in ("paper", "card")],
    *[(state, f"{state}-paper") for state in ("good", "bad", "warn", "busy", "calm", "spent")],
    *[(state, "card") for state in ("good", "bad", "warn", "busy")],
    *[("accent", "busy-paper"), ("soft", "bad-paper"), ("soft", "calm-paper")],
]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [LIGHT, {**LIGHT, **DARK}], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "background"), PAIRS)
def test_contrast_of_text(scheme: dict[str, str], text: str, background: str) -> None:
    dark, light = sorted((luminance(scheme[text]), luminance(scheme[background])))
    assert (light + 0.05) / (dark + 0.05) >= 4.5
