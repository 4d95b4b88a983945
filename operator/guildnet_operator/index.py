"""Objects by keys that several of them may share, such as the task of a pod."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

V = TypeVar("V")

INDEXES = (
    "agent_tasks", "dependents", "pods", "children", "secrets", "config_maps", "orgs"
)  # fmt: skip


class Index(Mapping[str, Collection[V]], Generic[V]):
    """The values at each key; each object, by its uid, has one value at each of its keys."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, V]] = {}
        self._keys: dict[str, tuple[str, ...]] = {}

    def set(self, uid: str, keys: Iterable[str], value: V) -> None:
        """Store the object's value at `keys`, and at no other key."""
        self.discard(uid)
        kept = tuple(keys)
        if kept:
            self._keys[uid] = kept
        for key in kept:
            self._values.setdefault(key, {})[uid] = value

    def discard(self, uid: str) -> None:
        """Remove the object, if it is here."""
        for key in self._keys.pop(uid, ()):
            values = self._values.get(key, {})
            values.pop(uid, None)
            if not values:
                self._values.pop(key, None)

    def __getitem__(self, key: str) -> Collection[V]:
        return self._values[key].values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def empty_indexes() -> dict[str, Index[Any]]:
    """An index for each name in `INDEXES`."""
    return {name: Index() for name in INDEXES}
