"""The page of the reconciler names every setting and every metric."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "reconciler.md").read_text()


def test_every_setting_is_named() -> None:
    missing = [field.name for field in fields(Settings) if f"`{field.name}`" not in PAGE]
    assert not missing


def test_every_metric_is_named() -> None:
    names = {metric.name for metric in Metrics().registry.collect()}
    assert not [name for name in names if f"`{name}" not in PAGE]
