"""The objects of the namespace: as the watches reported them, and the operator's own last writes.

A watch reports a write a moment after it was made. A decision based on the state before it would be
made twice, so the API server's answer to a write counts until the watch has reported it too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from guildnet import conditions, labels
from guildnet_operator.views import (
    ChildView,
    Json,
    OrgSettings,
    PodView,
    SecretView,
    TaskView,
    child_view,
    task_view,
)

V = TypeVar("V")


class Cache:
    """Reads the indexes that the watches' handlers fill."""

    def __init__(self, indexes: Mapping[str, Mapping[str, Collection[Any]]]) -> None:
        self._indexes = indexes
        self._own_tasks: dict[str, TaskView] = {}
        self._own_children: dict[tuple[str, str], ChildView] = {}

    # --- reading ----------------------------------------------------------------------------

    def task(self, name: str) -> TaskView | None:
        watched: TaskView | None = _first(self._values("agent_tasks", name))
        own = self._own_tasks.get(name)
        if watched is None or own is None or own.uid != watched.uid:
            return watched
        return own if _is_newer(own.resource_version, watched.resource_version) else watched

    def tasks(self) -> Iterator[TaskView]:
        for name in list(self._indexes["agent_tasks"]):
            task = self.task(name)
            if task is not None:
                yield task

    def pods(self, task: str) -> tuple[PodView, ...]:
        return tuple(sorted(self._values("pods", task), key=lambda pod: pod.created))

    def children(self, owner: str) -> dict[str, ChildView]:
        """The children of an AgentTask (by uid), by kind; own writes count at once."""
        watched: dict[str, ChildView] = {c.kind: c for c in self._values("children", owner)}
        own = {kind: c for (uid, kind), c in self._own_children.items() if uid == owner}
        for kind, child in own.items():
            before = watched.get(kind)
            if before is None or _is_newer(child.resource_version, before.resource_version):
                watched[kind] = child
        return watched

    def secrets(self) -> Mapping[str, SecretView]:
        return _IndexView(self._indexes["secrets"])

    def config_map_uses(self) -> Mapping[str, str]:
        """The label `guildnet.io/use` of each ConfigMap; "" without one."""
        return _IndexView(self._indexes["config_maps"])

    def org(self) -> OrgSettings:
        return _first(self._values("orgs", labels.ORG_CONFIG_MAP)) or OrgSettings()

    def names_where(self, holds: Callable[[TaskView], bool]) -> list[str]:
        """Names of the AgentTasks for which `holds` is true or raises: the reconciliation of the
        latter reports the error."""
        return [task.name for task in self.tasks() if _holds_or_fails(holds, task)]

    def refused_tasks(self) -> list[str]:
        """AgentTasks that are not accepted, perhaps for a missing Secret or ConfigMap."""
        return self.names_where(_is_refused)

    def depending_on(self, name: str) -> list[str]:
        """Names of the AgentTasks that depend on this one."""
        return list(self._values("dependents", name))

    # --- own writes -------------------------------------------------------------------------

    def wrote_task(self, body: Json) -> None:
        task = task_view(body)
        self._own_tasks[task.name] = task

    def watched_task(self, task: TaskView) -> None:
        """The watch reported an AgentTask: drop our own copy unless it is newer."""
        own = self._own_tasks.get(task.name)
        if own is not None and not _is_newer(own.resource_version, task.resource_version):
            del self._own_tasks[task.name]

    def wrote_child(self, body: Json) -> None:
        child = child_view(body)
        if child is not None:
            self._own_children[child.owner, child.kind] = child

    def watched_child(self, child: ChildView) -> None:
        """The watch reported a child, or its deletion: drop our own copy unless it is newer."""
        own = self._own_children.get((child.owner, child.kind))
        if own is not None and not _is_newer(own.resource_version, child.resource_version):
            del self._own_children[child.owner, child.kind]

    def forget(self, task: TaskView) -> None:
        self._own_tasks.pop(task.name, None)
        for key in [key for key in self._own_children if key[0] == task.uid]:
            del self._own_children[key]

    def _values(self, index: str, key: str) -> Iterable[Any]:
        return list(self._indexes[index].get(key, ()))


class _IndexView(Mapping[str, Any]):
    """An index of single values as a mapping."""

    def __init__(self, index: Mapping[str, Collection[Any]]) -> None:
        self._index = index

    def __getitem__(self, name: str) -> Any:
        return next(iter(self._index[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def _holds_or_fails(holds: Callable[[TaskView], bool], task: TaskView) -> bool:
    try:
        return holds(task)
    except Exception:
        return True


def _is_refused(task: TaskView) -> bool:
    accepted = conditions.find(task.status.get("conditions", ()), conditions.ACCEPTED)
    return accepted is not None and accepted.get("status") == "False"


def _first(values: Iterable[V]) -> V | None:
    return next(iter(values), None)


def _is_newer(one: str, other: str) -> bool:
    """Resource versions are growing integers, since Kubernetes 1.35 by contract.

    False if one is not an integer: then what the watch reported counts.
    """
    try:
        return int(one or 0) > int(other or 0)
    except ValueError:
        return False
