"""The fields in which two specs differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field in which two specs differ, with its dotted path; None is a missing field."""

    path: str
    old: Any = None
    new: Any = None


def differing(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "spec"
) -> tuple[FieldChange, ...]:
    """The fields in which two specs differ, such as `spec.agent.command`."""
    found: list[FieldChange] = []
    for key in sorted(old.keys() | new.keys()):
        path = f"{prefix}.{key}"
        one, other = old.get(key), new.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differing(one, other, path)
        elif one != other or (key in old) != (key in new):
            found.append(FieldChange(path, one, other))
    return tuple(found)
