"""Bytes of a state repository to resources: bounded YAML, and every problem with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import jsonschema
import yaml

from guildnet import schema
from guildnet.errors import InvalidResource, Problem
from guildnet.resources import ClusterRef, Org, PrunePolicy, Source, Task

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 32
_MAX_PROBLEMS = 50

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?")
# YAML 1.2's core schema: `no`, `on` and `12:30` stay the words that were written.
_WORDS: Mapping[str, Any] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """What a path in a state repository stands for: `task` is None for an org's file."""

    org: str
    task: str | None


def parse_path(path: str) -> ResourcePath | None:
    """The identity a path carries, or None for files that are no resource (README, schemas)."""
    parts = PurePosixPath(path).parts
    if not parts[-1].endswith(".yaml"):
        return None
    stem = parts[-1].removesuffix(".yaml")
    if len(parts) == 2 and parts[0] == "orgs":
        return ResourcePath(stem, None)
    if len(parts) == 3 and parts[0] == "tasks":
        return ResourcePath(parts[1], stem)
    return None


def path_problem(path: str) -> Problem | None:
    """What is wrong with a path under orgs/ or tasks/ itself; None for a good or unrelated one."""
    parts = PurePosixPath(path).parts
    if parts[0] not in ("orgs", "tasks") or parts[-1].startswith("."):
        return None
    identity = parse_path(path)
    if identity is None:
        return Problem(path, 0, "expected orgs/<org>.yaml or tasks/<org>/<task>.yaml")
    for name in (identity.org, identity.task):
        if name is not None and not _NAME.fullmatch(name):
            return Problem(
                path, 0, f"{name!r} is not a lower-case DNS label of at most 50 characters"
            )
    return None


def load_org(data: bytes, source: Source) -> Org:
    """The Org in `data`. Raises InvalidResource with every problem found."""
    document = _load(data, source, "org")
    spec = document["spec"]
    cluster = spec["cluster"]
    prune = spec.get("prune", {})
    return Org(
        name=document["metadata"]["name"],
        cluster=ClusterRef(cluster["kubeconfig"], cluster["namespace"], cluster.get("context")),
        spec=spec,
        source=source,
        prune=PrunePolicy(
            prune.get("enabled", True), prune.get("maxPercent", 20), prune.get("minObjects", 5)
        ),
    )


def load_task(data: bytes, source: Source) -> Task:
    """The Task in `data`. Raises InvalidResource with every problem found."""
    document = _load(data, source, "task")
    return Task(
        org=PurePosixPath(source.path).parts[1],
        name=document["metadata"]["name"],
        spec=document["spec"],
        source=source,
        labels=document["metadata"].get("labels", {}),
    )


def _load(data: bytes, source: Source, kind: str) -> Any:
    misplaced = path_problem(source.path)
    if misplaced is not None:
        raise InvalidResource([misplaced])
    value, lines = parse_yaml(data, source.path)
    problems = [*_schema_problems(value, lines, source.path, kind)]
    if not problems:
        check = _task_problems if kind == "task" else _org_problems
        problems = [*_name_problems(value, lines, source.path), *check(value, lines, source.path)]
    if problems:
        raise InvalidResource(sorted(problems)[:_MAX_PROBLEMS])
    return value


def parse_yaml(data: bytes, path: str) -> tuple[Any, Mapping[Place, int]]:
    """One YAML document as plain JSON values, and the line each place in it stands on.

    Raises InvalidResource for more than 256 KiB, more than one document, anchors and aliases,
    duplicate keys, tags, deep nesting, and whatever is no YAML.
    """
    if len(data) > MAX_FILE_BYTES:
        message = f"{len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"
        raise InvalidResource([Problem(path, 0, message)])
    try:
        return _Builder(path).build(yaml.parse(data.decode("utf-8"), Loader=_Loader))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidResource([Problem(path, line, "not UTF-8 text")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        reason = ": ".join(filter(None, (error.context, error.problem)))
        raise InvalidResource([Problem(path, line, f"not valid YAML: {reason}")]) from error
    except yaml.YAMLError as error:
        raise InvalidResource([Problem(path, 0, f"not valid YAML: {error}")]) from error


class _Builder:
    """Turns parser events into values without recursion, so depth is ours to bound."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: dict[Place, int] = {}
        self._stack: list[tuple[Any, Place]] = []  # open collections and their places
        self._keys: list[str | None] = []  # per open collection: the key that waits for a value
        self._root: Any = None
        self._documents = 0

    def build(self, events: Iterator[Any]) -> tuple[Any, Mapping[Place, int]]:
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    self._refuse(line, "more than one document; keep one object per file")
            elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                self._refuse(line, "anchors and aliases are not supported; write the value out")
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event, line)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._stack.pop()
                self._keys.pop()
        if not self._documents:
            self._refuse(1, "the file is empty")
        return self._root, self._lines

    def _refuse(self, line: int, message: str) -> None:
        raise InvalidResource([Problem(self._path, line, message)])

    def _scalar(self, event: Any, line: int) -> None:
        if self._stack and isinstance(self._stack[-1][0], dict) and self._keys[-1] is None:
            mapping, place = self._stack[-1]
            if event.value in mapping:
                self._refuse(line, f"duplicate key {event.value!r}")
            self._keys[-1] = event.value
            self._lines[(*place, event.value)] = line
            return
        if event.tag is not None and event.tag != "tag:yaml.org,2002:str":
            self._refuse(line, f"the tag {event.tag} is not supported")
        plain = event.implicit[0] and not event.style
        self._place(plain_value(event.value) if plain else event.value, line)

    def _open(self, collection: Any, event: Any, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._refuse(line, f"nested more than {MAX_DEPTH} deep")
        if event.tag is not None:
            self._refuse(line, f"the tag {event.tag} is not supported")
        if self._stack and isinstance(self._stack[-1][0], dict) and self._keys[-1] is None:
            self._refuse(line, "a key must be a word, not a collection")
        place = self._place(collection, line)
        self._stack.append((collection, place))
        self._keys.append(None)

    def _place(self, value: Any, line: int) -> Place:
        if not self._stack:
            self._root = value
            place: Place = ()
        else:
            parent, above = self._stack[-1]
            if isinstance(parent, dict):
                key = self._keys[-1]
                assert key is not None
                parent[key] = value
                self._keys[-1] = None
                return (*above, key)
            place = (*above, len(parent))
            parent.append(value)
        self._lines[place] = line
        return place


def plain_value(text: str) -> Any:
    """What an unquoted scalar means: YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= 20 else text
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if number not in (float("inf"), float("-inf")) else text
    return text


@cache
def _validator(kind: str) -> Any:
    document = schema.org_schema() if kind == "org" else schema.task_schema()
    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, {"pattern": _pattern_errors})(document)


def _pattern_errors(
    _validator: Any, pattern: str, found: Any, _schema: Any
) -> Iterator[jsonschema.ValidationError]:
    """`$` is the end of the text, as JSON Schema and the API server mean it: Python's would let
    a newline follow."""
    whole = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(found, str) and not re.search(whole, found):
        yield jsonschema.ValidationError(f"{found!r} does not match {pattern!r}")


def _schema_problems(
    value: Any, lines: Mapping[Place, int], path: str, kind: str
) -> Iterator[Problem]:
    for error in _validator(kind).iter_errors(value):
        place: Place = tuple(error.absolute_path)
        for where, message in _explain(error, place):
            yield Problem(path, line_of(lines, where), _at(place, message))


def line_of(lines: Mapping[Place, int], place: Place) -> int:
    """The line of `place`, or of the nearest thing around it."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _at(place: Place, message: str) -> str:
    dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    return f"{dotted}: {message}" if dotted else message


def _explain(error: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """The error in words of the file, with the place that each part of it stands at."""
    found = error.instance
    shown = repr(found) if len(repr(found)) <= 80 else repr(found)[:77] + "..."
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})
            for name in sorted(set(found) - set(known)):
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                yield (*place, name), f"unknown field {name!r}{hint}"
        case "required":
            missing = [name for name in error.validator_value if name not in found]
            # jsonschema reports one error per missing name; its message says which.
            for name in missing:
                if error.message.startswith(repr(name)):
                    yield place, f"missing field {name!r}"
        case "oneOf":
            names = ", ".join(choice["required"][0] for choice in error.validator_value)
            yield place, f"needs exactly one of {names}"
        case "pattern":
            wanted = error.schema.get("title", f"a match of {error.validator_value}")
            yield place, f"{shown} is not {wanted}"
        case "enum":
            allowed = ", ".join(map(repr, error.validator_value))
            yield place, f"{shown} is not one of {allowed}"
        case "type":
            yield place, f"{shown} is not of type {error.validator_value}"
        case "maxLength" | "maxItems" | "maxProperties":
            yield place, f"longer than {error.validator_value}"
        case _:
            yield place, str(error.message)[:200]


def _name_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    stem = PurePosixPath(path).stem
    name = value["metadata"]["name"]
    if name != stem:
        line = line_of(lines, ("metadata", "name"))
        yield Problem(path, line, f"metadata.name is {name!r}; the file's name says {stem!r}")


def _org_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    yield from _env_problems(value, lines, path)
    mesh = value["spec"].get("mesh", {})
    if mesh.get("mode") == "tailscale" and "authKeySecret" not in mesh:
        line = line_of(lines, ("spec", "mesh"))
        yield Problem(path, line, "spec.mesh: mode tailscale needs authKeySecret")


def _task_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    yield from _env_problems(value, lines, path)
    spec = value["spec"]
    contexts = spec.get("context", [])
    for index, context in enumerate(contexts):
        if context["name"] in {earlier["name"] for earlier in contexts[:index]}:
            place: Place = ("spec", "context", index, "name")
            message = f"a second context named {context['name']!r}"
            yield Problem(path, line_of(lines, place), _at(place, message))
    wanted = spec.get("pullRequest", {}).get("context")
    if wanted and wanted not in {c["name"] for c in contexts if "git" in c}:
        place = ("spec", "pullRequest", "context")
        message = f"{wanted!r} is not a git context of this task"
        yield Problem(path, line_of(lines, place), _at(place, message))
    dependencies = spec.get("dependsOn", [])
    for index, name in enumerate(dependencies):
        place = ("spec", "dependsOn", index)
        if name == value["metadata"]["name"]:
            yield Problem(path, line_of(lines, place), _at(place, "a task cannot wait for itself"))
        if name in dependencies[:index]:
            yield Problem(path, line_of(lines, place), _at(place, f"{name!r} is named twice"))


def _env_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    entries = value["spec"].get("agent", {}).get("env", [])
    for index, entry in enumerate(entries):
        if entry["name"] in {earlier["name"] for earlier in entries[:index]}:
            place: Place = ("spec", "agent", "env", index, "name")
            yield Problem(
                path, line_of(lines, place), _at(place, f"{entry['name']!r} is set twice")
            )
