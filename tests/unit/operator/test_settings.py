"""Each setting is documented, and read from its environment variable."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from guildnet_operator.settings import Settings, from_environment

DOCS = Path(__file__).parents[3] / "docs" / "operator.md"


def test_the_docs_list_every_setting() -> None:
    text = DOCS.read_text()
    assert [f.name for f in fields(Settings) if f"`{f.name}`" not in text] == []


def test_the_environment_sets_images_and_probes() -> None:
    environ = {"GUILDNET_OPERATOR_IMAGE": "o:1", "GUILDNET_WORK_IMAGE": "w:1", "OTHER": "x"}
    assert Settings(**from_environment(environ)).operator_image == "o:1"  # type: ignore[arg-type]
    assert from_environment({"GUILDNET_PROBES": ""}) == {}
