"""Checks resources against their schemas and explains each violation, with its line.

Problems are found lazily: a caller that stops after the first few pays only for those. Rules that
JSON Schema cannot express belong to `loading`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema

from guildnet import schema
from guildnet.errors import Problem
from guildnet.redact import strip_urls
from guildnet.urls import url_fault
from guildnet.yaml_reader import Place, line_of

_MAX_SHOWN = 80


def schema_problems(
    value: Any, lines: Mapping[Place, int], path: str, kind: str
) -> Iterator[Problem]:
    """The violations of the schema of `kind` ("org" or "task"), unsorted."""
    for error in _validator(kind).iter_errors(value):
        place: Place = tuple(error.absolute_path)
        if "propertyNames" in error.absolute_schema_path:
            place = (*place, str(error.instance))
        for where, message in _explain(error, place):
            yield Problem(path, line_of(lines, where), at(place, message))


def at(place: Place, message: str) -> str:
    """`message` after the field that it is about: `spec.context[0].name: ...`."""
    dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    return f"{dotted}: {message}" if dotted else message


@cache
def _validator(kind: str) -> Any:
    document = schema.org_schema() if kind == "org" else schema.task_schema()
    base = jsonschema.Draft202012Validator
    whole_numbers = base.TYPE_CHECKER.redefine("integer", _is_integer)
    keywords = {**base.VALIDATORS, "pattern": _pattern_errors, "format": _format_errors}
    keywords |= {name: _within_size(keywords[name]) for name in _LOOK_INSIDE}
    extend: Any = jsonschema.validators.extend
    return extend(base, keywords, type_checker=whole_numbers)(document)


_LOOK_INSIDE = (
    "items",
    "properties",
    "additionalProperties",
    "propertyNames",
    "oneOf",
    "pattern",
    "format",
)
_SIZES = (("maxItems", list), ("maxProperties", dict), ("maxLength", str))


def _within_size(keyword: Any) -> Any:
    """The keyword, skipped for a value that exceeds the size its schema allows.

    The excess is one problem by itself; looking into each of 100,000 items that may not be there
    would cost seconds.
    """

    def checked(validator: Any, wanted: Any, found: Any, node: Any) -> Iterator[Any]:
        for name, kind in _SIZES:
            if isinstance(found, kind) and len(found) > node.get(name, len(found)):
                return
        yield from keyword(validator, wanted, found, node) or ()

    return checked


def _is_integer(_checker: Any, found: Any) -> bool:
    """`1e1` and `2.0` do not count: the API server would return them in another notation."""
    return isinstance(found, int) and not isinstance(found, bool)


def _pattern_errors(
    _validator: Any, pattern: str, found: Any, _schema: Any
) -> Iterator[jsonschema.ValidationError]:
    """Match `$` only at the end of the text, as JSON Schema and the API server do; Python's `$`
    also matches before a final newline."""
    whole = pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern
    if isinstance(found, str) and not re.search(whole, found):
        yield jsonschema.ValidationError(f"{found!r} does not match {pattern!r}")


def _format_errors(
    _validator: Any, name: str, found: Any, node: Any
) -> Iterator[jsonschema.ValidationError]:
    """Check that a URL that matches its pattern can be used."""
    if name != "uri" or not isinstance(found, str):
        return
    fault = url_fault(found) if re.search(node.get("pattern", ""), found) else None
    if fault is not None:
        yield jsonschema.ValidationError(fault)


def _explain(error: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """The messages for a schema error, each with the field that it is about."""
    found, wanted = error.instance, error.validator_value
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})
            for name in sorted(set(found) - set(known)):
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                yield (*place, name), f"unknown field {name!r}{hint}"
        case "required":
            missing = [name for name in wanted if name not in found]
            # jsonschema reports one error per missing name; its message says which.
            for name in missing:
                if error.message.startswith(repr(name)):
                    yield place, f"missing field {name!r}"
        case "oneOf":
            names = ", ".join(choice["required"][0] for choice in wanted)
            yield place, f"needs exactly one of {names}"
        case "pattern":
            yield (
                place,
                f"{_shown(found)} is not {error.schema.get('title', f'a match of {wanted}')}",
            )
        case "format":
            yield place, f"{_shown(found)} is not a usable URL: {error.message}"
        case "enum":
            yield place, f"{_shown(found)} is not one of {', '.join(map(repr, wanted))}"
        case "type":
            yield place, _of_another_type(found, wanted, place)
        case "anyOf":
            yield place, f"{_shown(found)} is not {error.schema['title']}"
        case "maxLength" | "maxItems" | "maxProperties":
            yield place, f"longer than {wanted}"
        case "minLength" | "minItems":
            yield place, "must not be empty" if wanted == 1 else f"shorter than {wanted}"
        case "minimum" | "maximum":
            bound = "least" if error.validator == "minimum" else "most"
            yield place, f"{_shown(found)} is out of bounds: at {bound} {wanted}"
        case _:
            yield place, strip_urls(str(error.message))[:200]


def _of_another_type(found: Any, wanted: str, place: Place) -> str:
    # The value of an environment variable may be a secret.
    is_value = len(place) > 2 and place[-1] == "value" and place[-3] == "env"
    message = f"{'the value' if is_value else _shown(found)} is not of type {wanted}"
    if wanted == "string" and isinstance(found, bool | int | float):
        return message + "; put it in quotes"
    if wanted == "boolean" and str(found).lower() in ("yes", "no", "on", "off", "y", "n"):
        return message + "; write true or false"
    return message


def _shown(found: Any) -> str:
    """A value for a message: short, and without the parts of URLs that can hold a secret (I8)."""
    text = repr(found) if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    text = strip_urls(text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
