"""docs/commands.md names every verb and every option that the command has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
import yaml

from guildnet import schema
from guildnet.loading import load_task
from guildnet.resources import Source
from guildnet_cli.main import app

DOCS = Path(__file__).parents[3] / "docs"


def commands(command: Any, words: tuple[str, ...] = ()) -> dict[str, Any]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return {" ".join(words): command}
    return {k: v for name, c in inner.items() for k, v in commands(c, (*words, name)).items()}


def test_every_verb_is_named() -> None:
    text = (DOCS / "commands.md").read_text().replace("\\|", "|")
    named = set()
    for words in re.findall(r"`guildnet ([a-z|-]+(?: [a-z|]+)?)", text):
        first, _, rest = words.partition(" ")
        named |= {first, *(f"{first} {word}" for word in rest.split("|") if rest)}
    assert set(commands(typer.main.get_command(app))) <= named


def test_every_option_of_the_services_is_named() -> None:
    text = (DOCS / "commands.md").read_text()
    found = commands(typer.main.get_command(app))
    for verb in ("reconciler", "operator", "dashboard", "plan", "sync"):
        for parameter in found[verb].params:
            for option in parameter.opts:
                if option.startswith("--") and option not in ("--help", "--output", "--timeout"):
                    assert option in text, f"{verb} {option}"


def test_every_field_of_a_task_is_explained() -> None:
    text = (DOCS / "writing-a-task.md").read_text()
    for name in schema.task_schema()["properties"]["spec"]["properties"]:
        assert f"`{name}`" in text, name


def test_the_examples_of_the_docs_are_tasks() -> None:
    text = (DOCS / "writing-a-task.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.S)
    whole = blocks[0].encode()
    assert load_task(whole, Source("tasks/acme/hello.yaml")).name == "hello"
    fields = schema.task_schema()["properties"]["spec"]["properties"]
    for block in blocks[1:]:
        (name,) = yaml.safe_load(block)
        assert name in fields
