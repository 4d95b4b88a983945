"""Where two specs differ, place by place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One place where two specs differ, dotted; None is a field that is not there."""

    place: str
    old: Any = None
    new: Any = None


def differing(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "spec"
) -> tuple[FieldChange, ...]:
    """The places where two specs differ, such as `spec.agent.command`."""
    found: list[FieldChange] = []
    for key in sorted(old.keys() | new.keys()):
        place = f"{prefix}.{key}"
        one, other = old.get(key), new.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differing(one, other, place)
        elif one != other or (key in old) != (key in new):
            found.append(FieldChange(place, one, other))
    return tuple(found)
