"""kopf's handlers, which only fill the cache's indexes and queue keys.

Only `on.event` is used: kopf then writes no annotation and no finalizer to any object. No
`kopf.index` is used: while it fills its indexes, each object waits for all others, and each report
wakes all that wait. See `initial_list` for what is used instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from guildnet import labels
from guildnet.kube import (
    AGENT_TASKS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
    ResourceKind,
)
from guildnet_operator.cache import Cache
from guildnet_operator.index import Index
from guildnet_operator.initial_list import InitialList
from guildnet_operator.reconcile import Reconciler
from guildnet_operator.views import (
    Json,
    OrgSettings,
    child_view,
    org_settings,
    pod_view,
    secret_view,
    task_view,
    use_of,
)

CHILDREN = (
    SECRETS,
    PERSISTENT_VOLUME_CLAIMS,
    SERVICES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    NETWORK_POLICIES,
)
WATCHED = (AGENT_TASKS, PODS, *CHILDREN)

#: Takes an object, and whether it is deleted.
_Handle = Callable[[Json, bool], object]


def register(
    registry: kopf.OperatorRegistry,
    handlers: Handlers,
    initial: InitialList,
    on_report: Callable[[], None],
    on_renewal: Callable[[], None],
) -> None:
    """Register a handler for each kind. `on_report` is called with each report of an object, and
    `on_renewal` when the own Lease is renewed."""
    for kind in WATCHED:
        _on_event(registry, kind, handlers.of(kind), initial, on_report)

    @kopf.on.event("coordination.k8s.io", "v1", "leases", registry=registry)
    async def on_lease(name: str, **_: Any) -> None:
        if name == labels.OPERATOR:
            on_renewal()


def _on_event(
    registry: kopf.OperatorRegistry,
    kind: ResourceKind,
    handle: _Handle,
    initial: InitialList,
    on_report: Callable[[], None],
) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)
    async def on_event(event: Mapping[str, Any], body: kopf.Body, uid: str, **_: Any) -> None:
        try:
            handle({"kind": kind.kind, **body}, event["type"] == "DELETED")
        finally:
            on_report()
            initial.reported(kind, uid)


class Handlers:
    """What is done with a reported object of each kind."""

    def __init__(
        self, indexes: Mapping[str, Index[Any]], cache: Cache, reconciler: Reconciler
    ) -> None:
        self._indexes = indexes
        self._cache = cache
        self._reconciler = reconciler
        self._queue = reconciler.queue
        self._org: OrgSettings | None = None

    def of(self, kind: ResourceKind) -> _Handle:
        """The handler of one of the `WATCHED` kinds."""
        own = {
            AGENT_TASKS: self._agent_task,
            PODS: self._pod,
            SECRETS: self._secret,
            CONFIG_MAPS: self._config_map,
        }
        return own.get(kind, self._child)

    def _keep(self, index: str, body: Json, value: Any, *keys: str) -> None:
        """Store what is known of an object; None: nothing."""
        uid = body["metadata"]["uid"]
        self._indexes[index].set(uid, () if value is None else keys, value)

    def _agent_task(self, body: Json, is_gone: bool) -> None:
        view = task_view(body)
        self._keep("agent_tasks", body, None if is_gone else view, view.name)
        dependent = None if is_gone else view.name
        self._keep("dependents", body, dependent, *view.spec.get("dependsOn", ()))
        self._cache.watched_task(view)
        if is_gone:
            self._reconciler.forget(view)
        else:
            self._queue.put(view.name)

    def _pod(self, body: Json, is_gone: bool) -> None:
        view = pod_view(body)
        self._keep("pods", body, None if is_gone else view, view.task if view else "")
        if view is not None:
            self._queue.put(view.task)

    def _secret(self, body: Json, is_gone: bool) -> None:
        view = secret_view(body)
        self._keep("secrets", body, None if is_gone else view, view.name)
        self._child_or_reference(body, is_gone)

    def _config_map(self, body: Json, is_gone: bool) -> None:
        name = body["metadata"]["name"]
        self._keep("config_maps", body, None if is_gone else use_of(body), name)
        if name == labels.ORG_CONFIG_MAP:
            self._org_settings(body, is_gone)
        self._child_or_reference(body, is_gone)

    def _child_or_reference(self, body: Json, is_gone: bool) -> None:
        """An AgentTask that was refused may refer to this object, unless it is a child."""
        if not self._child(body, is_gone):
            for refused in self._cache.refused_tasks():
                self._queue.put(refused)

    def _child(self, body: Json, is_gone: bool) -> bool:
        """Whether the object is a child."""
        view = child_view(body)
        self._keep("children", body, None if is_gone else view, view.owner if view else "")
        if view is not None and view.task:
            self._cache.watched_child(view)
            self._queue.put(view.task)
        return view is not None

    def _org_settings(self, body: Json, is_gone: bool) -> None:
        now = OrgSettings() if is_gone else org_settings(body)
        self._keep("orgs", body, None if is_gone else now, labels.ORG_CONFIG_MAP)
        if self._org == now:
            return  # the reconciler also writes each revision there, which changes no settings (I5)
        self._org = now
        self._reconciler.mesh.wake()  # also in a namespace without AgentTasks
        for task in self._cache.tasks():
            self._queue.put(task.name)
