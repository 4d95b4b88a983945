"""A task that uses every field of the schema, and every way to break one rule of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

Place = tuple[str | int, ...]

FULL_SPEC: dict[str, Any] = {
    "prompt": "Do it.",
    "context": [
        {
            "name": "web",
            "git": {
                "url": "https://git.example:3000/acme/web.git",
                "ref": "main",
                "commit": "0123456789abcdef0123456789abcdef01234567",
                "depth": 1,
                "sparse": ["docs"],
                "secret": "forge-token",
            },
        },
        {"name": "notes", "text": "a text"},
        {
            "name": "spec",
            "url": {"href": "https://x.example/y?z=1", "sha256": "ab" * 32, "maxBytes": "1Mi"},
        },
        {"name": "rules", "configMap": "coding-rules"},
    ],
    "agent": {
        "image": "registry.example/agent:1",
        "preset": "shell",
        "command": ["sh", "-c", "true"],
        "model": {"use": "main", "name": "m-1"},
        "budget": {"usd": 2.5, "tokens": 1000, "requests": 4},
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "secretKeyRef": {"name": "model", "key": "api-key"}},
        ],
        "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1.5Gi"}},
        "runtimeClassName": "gvisor",
        "nodeSelector": {"zone": "a"},
        "workspace": {"size": "5Gi", "storageClass": "fast"},
    },
    "pullRequest": {
        "context": "web",
        "base": "main",
        "title": "A title",
        "body": "A body",
        "draft": False,
        "labels": ["agent"],
        "reviewers": ["alice"],
        "secret": "forge-token",
    },
    "verify": {"command": ["make", "test"], "rounds": 2},
    "editor": {"enabled": True, "afterFinished": "1h"},
    "timeout": "1h30m",
    "retries": 2,
    "priority": -5,
    "dependsOn": ["other-task"],
    "ttlAfterFinished": "24h",
    "onChange": "Restart",
    "suspend": False,
    "cancel": False,
    "rerun": "1",
}

_WRONG_TYPE: Mapping[str, Any] = {
    "string": 7,
    "integer": "7",
    "number": "7",
    "boolean": "yes",
    "array": {"a": 1},
    "object": ["a"],
}


def mutations(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, Any]]:
    """(what was broken and where, the value with that one thing broken) for each rule."""
    for place, rule, broken in _broken(schema, value, ()):
        dotted = ".".join(map(str, place)) or "spec"
        yield f"{dotted}: {rule}", _with(value, place, broken)


def unused(schema: Mapping[str, Any], value: Any, place: str = "spec") -> list[str]:
    """Fields of the schema that `value` has nowhere: nothing would break those."""
    found = []
    for name, child in schema.get("properties", {}).items():
        inner = [v[name] for v in _all(value) if isinstance(v, dict) and name in v]
        if not inner:
            found.append(f"{place}.{name}")
        found += unused(child, inner, f"{place}.{name}")
    if isinstance(schema.get("items"), Mapping):
        flat = [item for v in _all(value) if isinstance(v, list) for item in v]
        found += unused(schema["items"], flat, f"{place}[]")
    return found


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _with(value: Any, place: Place, broken: Any) -> Any:
    if not place:
        return broken
    result = copy.deepcopy(value)
    inner = result
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = broken
    return result


def _broken(
    schema: Mapping[str, Any], value: Any, place: Place
) -> Iterator[tuple[Place, str, Any]]:
    if "type" in schema:
        yield place, "type", _WRONG_TYPE[schema["type"]]
        yield place, "null", None
    if isinstance(value, dict):
        yield from _broken_object(schema, value, place)
    elif isinstance(value, list):
        yield from _broken_list(schema, value, place)
    else:
        yield from ((place, rule, broken) for rule, broken in _broken_scalar(schema, value))


def _broken_object(
    schema: Mapping[str, Any], value: dict[str, Any], place: Place
) -> Iterator[tuple[Place, str, Any]]:
    if schema.get("additionalProperties") is False:
        yield place, "unknown field", {**value, "nonsense": 1}
    for name in schema.get("required", ()):
        yield place, f"without {name}", {k: v for k, v in value.items() if k != name}
    if "maxProperties" in schema:
        one = next(iter(value.values()))
        yield place, "too many", {f"k{n}": one for n in range(schema["maxProperties"] + 1)}
    if "oneOf" in schema:
        alternatives = {choice["required"][0] for choice in schema["oneOf"]}
        yield place, "none of", {k: v for k, v in value.items() if k not in alternatives}
        for other in sorted(alternatives - value.keys()):
            extra = {"text": "x", "value": "x", "configMap": "x"}.get(other)
            if extra is not None:
                yield place, f"two of, with {other}", {**value, other: extra}
    extra_schema = schema.get("additionalProperties")
    for name, inner in value.items():
        child = schema.get("properties", {}).get(name) or extra_schema
        if isinstance(child, Mapping):
            yield from _broken(child, inner, (*place, name))


def _broken_list(
    schema: Mapping[str, Any], value: list[Any], place: Place
) -> Iterator[tuple[Place, str, Any]]:
    if "minItems" in schema:
        yield place, "too few", value[: schema["minItems"] - 1]
    if "maxItems" in schema:
        many = [
            {**value[0], "name": f"n{n}"} if isinstance(value[0], dict) else f"n{n}"
            for n in range(schema["maxItems"] + 1)
        ]
        yield place, "too many", many
    if schema.get("x-kubernetes-list-type") in ("map", "set"):
        yield place, "twice", [*value, value[0]]
    for number, inner in enumerate(value):
        yield from _broken(schema["items"], inner, (*place, number))


def _broken_scalar(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, Any]]:
    if "enum" in schema:
        yield "enum", "Nonsense"
    if "minimum" in schema:
        yield "minimum", schema["minimum"] - 1
    if "maximum" in schema:
        yield "maximum", schema["maximum"] + 1
    if schema.get("minLength"):
        yield "empty", ""
    if "maxLength" in schema:
        yield "too long", value + "a" * (schema["maxLength"] + 1 - len(value))
    if "pattern" in schema:
        for bad in ("\n", "a b", "$(x)", "https://u:p@x.example/", "Ü"):
            if not re.fullmatch(schema["pattern"].removesuffix("$"), bad):
                yield f"pattern {bad!r}", bad
        yield "pattern, newline at the end", value + "\n"
