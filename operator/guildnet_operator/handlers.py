"""kopf's handlers, which only fill indexes and queue keys.

Only `on.event` is used: kopf then writes no annotation and no finalizer to any object. It calls
handlers only after all indexes are filled for the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from guildnet import labels
from guildnet_operator.cache import Cache
from guildnet_operator.reconcile import Reconciler
from guildnet_operator.views import (
    ChildView,
    OrgSettings,
    PodView,
    SecretView,
    TaskView,
    child_view,
    org_settings,
    pod_view,
    secret_view,
    task_view,
    use_of,
)

CHILDREN = (
    ("", "v1", "secrets"),
    ("", "v1", "persistentvolumeclaims"),
    ("", "v1", "services"),
    ("", "v1", "configmaps"),
    ("apps", "v1", "deployments"),
    ("networking.k8s.io", "v1", "networkpolicies"),
)
_KINDS = {
    "secrets": "Secret",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "services": "Service",
    "configmaps": "ConfigMap",
    "deployments": "Deployment",
    "networkpolicies": "NetworkPolicy",
}
_INDEXES = ("agent_tasks", "pods", "children", "secrets", "config_maps", "orgs")


def register(
    registry: kopf.OperatorRegistry,
    cache: Cache,
    reconciler: Reconciler,
    on_renewal: Callable[[], None],
) -> None:
    """Register all indexes and handlers; `on_renewal` is called when the own Lease is renewed."""
    _register_indexes(registry)
    _register_events(registry, cache, reconciler)

    @kopf.on.event("coordination.k8s.io", "v1", "leases", registry=registry)
    async def on_lease(name: str, **_: Any) -> None:
        if name == labels.OPERATOR:
            on_renewal()


def _register_indexes(registry: kopf.OperatorRegistry) -> None:
    @kopf.index(labels.GROUP, labels.VERSION, labels.PLURAL, id="agent_tasks", registry=registry)
    def agent_tasks(body: kopf.Body, **_: Any) -> dict[str, TaskView]:
        view = task_view(_plain(body))
        return {view.name: view}

    @kopf.index("", "v1", "pods", id="pods", registry=registry)
    def pods(body: kopf.Body, **_: Any) -> dict[str, PodView]:
        view = pod_view(_plain(body))
        return {view.task: view} if view is not None else {}

    @kopf.index("", "v1", "secrets", id="secrets", registry=registry)
    def secrets(body: kopf.Body, **_: Any) -> dict[str, SecretView]:
        view = secret_view(_plain(body))
        return {view.name: view}

    @kopf.index("", "v1", "configmaps", id="config_maps", registry=registry)
    def config_maps(body: kopf.Body, name: str, **_: Any) -> dict[str, str]:
        return {name: use_of(_plain(body))}

    @kopf.index("", "v1", "configmaps", id="orgs", registry=registry)
    def orgs(body: kopf.Body, name: str, **_: Any) -> dict[str, OrgSettings]:
        return {name: org_settings(_plain(body))} if name == labels.ORG_CONFIG_MAP else {}

    def children(body: kopf.Body, resource: kopf.Resource, **_: Any) -> dict[str, ChildView]:
        view = _child(body, resource)
        return {view.owner: view} if view is not None else {}

    for group, version, plural in CHILDREN:
        kopf.index(group, version, plural, id="children", registry=registry)(children)


def _register_events(registry: kopf.OperatorRegistry, cache: Cache, reconciler: Reconciler) -> None:
    queue = reconciler.queue

    @kopf.on.event(labels.GROUP, labels.VERSION, labels.PLURAL, registry=registry)
    async def on_agent_task(event: Mapping[str, Any], body: kopf.Body, **given: Any) -> None:
        cache.bind({name: given[name] for name in _INDEXES})
        view = task_view(_plain(body))
        cache.watched_task(view)
        if event["type"] == "DELETED":
            reconciler.forget(view)
        else:
            queue.put(view.name)

    @kopf.on.event("", "v1", "pods", registry=registry)
    async def on_pod(body: kopf.Body, **_: Any) -> None:
        view = pod_view(_plain(body))
        if view is not None:
            queue.put(view.task)

    async def on_child(body: kopf.Body, resource: kopf.Resource, **_: Any) -> None:
        view = _child(body, resource)
        if view is not None and view.task:
            cache.watched_child(view)
            queue.put(view.task)

    for group, version, plural in CHILDREN:
        kopf.on.event(group, version, plural, registry=registry)(on_child)

    @kopf.on.event("", "v1", "secrets", registry=registry)
    @kopf.on.event("", "v1", "configmaps", registry=registry)
    async def on_reference(body: kopf.Body, resource: kopf.Resource, **_: Any) -> None:
        if _child(body, resource) is None:
            for refused in cache.refused_tasks():
                queue.put(refused)

    settings: list[OrgSettings] = []

    @kopf.on.event("", "v1", "configmaps", registry=registry)
    async def on_org(event: Mapping[str, Any], body: kopf.Body, name: str, **given: Any) -> None:
        if name != labels.ORG_CONFIG_MAP:
            return
        cache.bind({index: given[index] for index in _INDEXES})
        is_gone = event["type"] == "DELETED"
        now = OrgSettings() if is_gone else org_settings(_plain(body))
        if settings == [now]:
            return  # the reconciler also writes each revision there, which changes no settings (I5)
        settings[:] = [now]
        reconciler.mesh.wake()  # also in a namespace without AgentTasks
        for task in cache.tasks():
            queue.put(task.name)


def _child(body: kopf.Body, resource: kopf.Resource) -> ChildView | None:
    return child_view({"kind": _KINDS[resource.plural], **_plain(body)})


def _plain(body: kopf.Body) -> dict[str, Any]:
    return dict(body)
