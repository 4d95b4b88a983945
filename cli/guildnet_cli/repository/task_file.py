"""A task's file as text: a new one, or an existing one with one field changed. Pure."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from guildnet.errors import ConfigurationError, InvalidResource, Problem
from guildnet.loading import load_task, parse_yaml, plain_value
from guildnet.resources import Source, task_path
from guildnet.yaml_reader import LOADER

_HEADER = "# yaml-language-server: $schema=../../schemas/task.schema.json\n"

Scalar = str | bool

# Characters that the YAML 1.1 emitter treats as line breaks, besides the newline.
_OTHER_BREAKS = "\r\x85\u2028\u2029"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as literal blocks, as people do."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None
    if any(mark in text for mark in _OTHER_BREAKS) or not isinstance(plain_value(text), str):
        style = '"'  # else the emitter folds the lines, or a reader parses "1" as a number
    else:
        style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def new_task(org: str, task: str, spec: Mapping[str, Any]) -> tuple[str, bytes]:
    """(path, content) of a new task's file. Raises InvalidResource where it would be invalid."""
    path = task_path(org, task)
    document = {
        "apiVersion": "guildnet.io/v1alpha1",
        "kind": "Task",
        "metadata": {"name": task},
        "spec": dict(spec),
    }
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    content = (_HEADER + body).encode()
    load_task(content, Source(path))
    return path, content


def git_contexts(given: Sequence[str]) -> list[dict[str, Any]]:
    """Each `[NAME=]URL[#REF]` as a git context. The default name is the repository's.

    Raises InvalidResource where a URL has no repository name; the schema checks the rest.
    """
    contexts = []
    for text in given:
        name, separator, rest = text.partition("=")
        if not separator or "/" in name or ":" in name:
            name, rest = "", text
        url, _, ref = rest.partition("#")
        name = name or url.rstrip("/").rpartition("/")[2].removesuffix(".git").lower()
        if not name:
            message = f"{text!r} has no repository name; give it as NAME=URL"
            raise InvalidResource([Problem("--context", 0, message)])
        contexts.append({"name": name, "git": {"url": url, **({"ref": ref} if ref else {})}})
    return contexts


def with_spec_field(content: bytes, path: str, key: str, value: Scalar) -> bytes:
    """The file with `spec.<key>` set to `value`, and every other byte unchanged.

    Raises InvalidResource where the file is not a valid task, before or after.
    """
    before, _ = parse_yaml(content, path)
    load_task(content, Source(path))
    if before["spec"].get(key, False) == value:
        return content
    mark = content[: len(BOM_UTF8)] if content.startswith(BOM_UTF8) else b""
    text = content.removeprefix(BOM_UTF8).decode()
    edited = mark + _edited(text, key, _scalar(value)).encode()
    wanted = {**before, "spec": {**before["spec"], key: value}}
    if parse_yaml(edited, path)[0] != wanted:
        raise ConfigurationError(
            f"cannot set spec.{key} without changing other parts of the file",
            place=path,
            cure=f"Edit the file: set `{key}: {_scalar(value)}` under spec.",
        )
    load_task(edited, Source(path))
    return edited


def _scalar(value: Scalar) -> str:
    """The value as YAML on one line, whatever characters it contains."""
    style = None if isinstance(value, bool) else '"'
    written: str = yaml.safe_dump(
        value, default_style=style, allow_unicode=True, width=1 << 20, explicit_end=False
    )
    return written.removesuffix("...\n").strip()


def _edited(text: str, key: str, value: str) -> str:
    document: Any = yaml.compose(text, Loader=LOADER)
    spec = next(node for name, node in document.value if name.value == "spec")
    for name, node in spec.value:
        if name.value == key:
            start, end = node.start_mark.index, node.end_mark.index
            gap = " " if text[start - 1] == ":" else ""
            return text[:start] + gap + value + text[end:]
    first = spec.value[0][0].start_mark
    glue = ", " if spec.flow_style else "\n" + " " * first.column
    return f"{text[: first.index]}{key}: {value}{glue}{text[first.index :]}"
