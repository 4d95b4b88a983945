"""What the operator keeps of each watched object: small, frozen, without secret values. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from guildnet import labels
from guildnet.mesh import MeshSettings, mesh_settings
from guildnet.org_budget import BudgetLeft
from guildnet.resources import DEFAULT_MAX_ACTIVE
from guildnet.text import clean_text
from guildnet.units import parse_time, rfc3339

DIGEST = f"{labels.GROUP}/manifest-digest"
TEMPLATE_DIGEST = f"{labels.GROUP}/template-digest"
MESH_KEY = f"{labels.GROUP}/mesh-key"
ARTIFACT_DIGESTS = f"{labels.GROUP}/artifact-digests"

Json = Mapping[str, Any]
_MAX_TAIL = 4096  # characters; kubelets keep 2 KiB of a log


@dataclass(frozen=True)
class TaskView:
    """An AgentTask."""

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    created: datetime
    org: str
    spec: Json
    status: Json
    deleting: bool = False

    @property
    def run(self) -> int:
        return int(self.spec.get("run", 1))

    @property
    def child_name(self) -> str:
        return labels.child_name(self.name, self.uid)

    @property
    def reference(self) -> dict[str, Any]:
        """The object as Events name it."""
        return {
            "apiVersion": labels.API_VERSION,
            "kind": labels.KIND_AGENT_TASK,
            "metadata": {"name": self.name, "namespace": self.namespace, "uid": self.uid},
        }


@dataclass(frozen=True, slots=True)
class MeshKeyView:
    """The auth key in an agent's Secret, without its value.

    `made_for`: run, attempt and start in status when it was made, which is before the start that
    uses it.
    """

    id: str
    made_for: tuple[int, int, int]
    made_at: datetime
    expires_at: datetime

    def to_annotation(self) -> str:
        times = rfc3339(self.made_at), rfc3339(self.expires_at)
        return json.dumps([self.id, *self.made_for, *times])


@dataclass(frozen=True, slots=True)
class ChildView:
    """An object that the operator created for the AgentTask with uid `owner`."""

    kind: str
    name: str
    uid: str
    owner: str
    task: str
    resource_version: str = ""
    digest: str = ""
    template: str = ""
    replicas: int = 0
    replica_failure: str = ""
    artifacts: tuple[tuple[str, str], ...] = ()
    mesh_key: MeshKeyView | None = None


@dataclass(frozen=True, slots=True)
class ContainerView:
    """The state of one container. `waiting` and `message`: why it waits; `last_*`: how it last
    ended, `last_message` with the end of its log if it was asked to keep that."""

    name: str
    running: bool = False
    ready: bool = False
    restarts: int = 0
    waiting: str = ""
    message: str = ""
    last_reason: str = ""
    last_exit: int | None = None
    last_finished: datetime | None = None
    last_message: str = ""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of an agent."""

    name: str
    uid: str
    task: str
    created: datetime
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    node: str = ""
    template: str = ""
    deleted_at: datetime | None = None
    scheduled: bool = False
    unschedulable: str = ""
    unschedulable_since: datetime | None = None
    node_lost: bool = False
    disrupted: str = ""
    containers: tuple[ContainerView, ...] = ()

    @property
    def is_dead(self) -> bool:
        """Whether it has ended, so that nothing in it runs any more."""
        return self.phase in ("Failed", "Succeeded")

    @property
    def is_alive(self) -> bool:
        return not self.is_dead and self.deleted_at is None

    def container(self, name: str) -> ContainerView:
        return next((c for c in self.containers if c.name == name), ContainerView(name))

    @property
    def serves(self) -> bool:
        """Whether the supervisor answers, and the work container runs."""
        return self.container("supervisor").ready and self.container("work").running


@dataclass(frozen=True, slots=True)
class EventView:
    """A Kubernetes Event about a pod or a claim."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SecretView:
    """A Secret without its values."""

    name: str
    use: str
    hosts: tuple[str, ...]
    keys: frozenset[str]


@dataclass(frozen=True)
class OrgSettings:
    """The settings in ConfigMap guildnet-org; `egress` is None without that ConfigMap.

    `dns`: the DNS servers of the org's `spec.dns`, as (address, port); empty: the cluster's.
    `models`: the org's model endpoints by name, as its file has them.
    `namespace_uid`: the namespace's, which tells orgs of one name in two clusters apart.
    `budget`: the org's `spec.limits.budget`; `budget_left`: what the reconciler says is left of it.
    """

    org: str = ""
    state_repository: str = ""
    max_active: int = DEFAULT_MAX_ACTIVE
    egress: tuple[tuple[str, int], ...] | None = None
    dns: tuple[tuple[str, int], ...] = ()
    models: Mapping[str, Json] = field(default_factory=dict)
    mesh: MeshSettings | None = None
    namespace_uid: str = ""
    budget: Json = field(default_factory=dict)
    budget_left: BudgetLeft | None = None


def task_view(body: Json) -> TaskView:
    meta = body["metadata"]
    return TaskView(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        generation=int(meta.get("generation", 1)),
        resource_version=meta.get("resourceVersion", ""),
        created=parse_time(meta["creationTimestamp"]),
        org=meta.get("labels", {}).get(labels.ORG, ""),
        spec=body.get("spec", {}),
        status=body.get("status", {}),
        deleting="deletionTimestamp" in meta,
    )


def child_view(body: Json) -> ChildView | None:
    """A child object; None for one that the operator did not create (I2)."""
    meta = body["metadata"]
    owner = _controller(meta)
    if meta.get("labels", {}).get(labels.MANAGED_BY) != labels.OPERATOR or owner is None:
        return None
    annotations = meta.get("annotations", {})
    spec = body.get("spec") or {}
    template = spec.get("template", {}).get("metadata", {}).get("annotations", {})
    failure = _condition(body, "ReplicaFailure")
    return ChildView(
        kind=body["kind"],
        name=meta["name"],
        uid=meta["uid"],
        owner=owner,
        task=meta["labels"].get(labels.TASK, ""),
        resource_version=meta.get("resourceVersion", ""),
        digest=annotations.get(DIGEST, ""),
        template=template.get(TEMPLATE_DIGEST, ""),
        replicas=int(spec.get("replicas", 0)) if body["kind"] == "Deployment" else 0,
        replica_failure=_message(failure.get("message")) if failure.get("status") == "True" else "",
        artifacts=_artifact_digests(annotations.get(ARTIFACT_DIGESTS, "")),
        mesh_key=mesh_key_view(annotations.get(MESH_KEY, "")),
    )


def pod_view(body: Json) -> PodView | None:
    """An agent's pod; None for any other pod."""
    meta, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    pod_labels = meta.get("labels", {})
    if pod_labels.get(labels.MANAGED_BY) != labels.OPERATOR or labels.TASK not in pod_labels:
        return None
    scheduled = _condition(body, "PodScheduled")
    disruption = _condition(body, "DisruptionTarget")
    deleted = meta.get("deletionTimestamp")
    statuses = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return PodView(
        name=meta["name"],
        uid=meta["uid"],
        task=pod_labels[labels.TASK],
        created=parse_time(meta["creationTimestamp"]),
        phase=_reason(status.get("phase", "Pending")),
        reason=_reason(status.get("reason")),
        message=_message(status.get("message")),
        node=spec.get("nodeName", ""),
        template=meta.get("annotations", {}).get(TEMPLATE_DIGEST, ""),
        deleted_at=parse_time(deleted) if deleted else None,
        scheduled=bool(spec.get("nodeName")),
        unschedulable=_message(scheduled.get("message"))
        if scheduled.get("status") == "False"
        else "",
        unschedulable_since=_since(scheduled),
        node_lost=status.get("reason") == "NodeLost" or _was_given_up(body),
        disrupted=_message(disruption.get("message")) if disruption.get("status") == "True" else "",
        containers=tuple(map(_container, statuses)),
    )


def mesh_key_view(annotation: str) -> MeshKeyView | None:
    """None without a key, and for an annotation that cannot be read: another key is made then."""
    try:
        key, run, attempt, start, made, expires = json.loads(annotation)
        triple = int(run), int(attempt), int(start)
        return MeshKeyView(str(key), triple, parse_time(made), parse_time(expires))
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def event_view(body: Json) -> EventView:
    """An Event; its texts are cleaned and bounded for use in a status."""
    return EventView(_reason(body.get("reason")), _message(body.get("message")))


def secret_view(body: Json) -> SecretView:
    meta = body["metadata"]
    hosts = meta.get("annotations", {}).get(labels.HOSTS, "")
    return SecretView(
        name=meta["name"],
        use=use_of(body),
        hosts=tuple(host.strip().lower() for host in hosts.split(",") if host.strip()),
        keys=frozenset(body.get("data") or {}),
    )


def use_of(body: Json) -> str:
    """What tasks may use a Secret or ConfigMap for: its label; empty without one."""
    return str((body["metadata"].get("labels") or {}).get(labels.USE, ""))


def org_settings(body: Json) -> OrgSettings:
    """The org's settings; the defaults if they cannot be read, so that agents go on."""
    data = body.get("data") or {}
    try:
        settings = json.loads(data.get("settings") or "{}")
        limits, egress = settings.get("limits") or {}, settings.get("egress") or []
        return OrgSettings(
            org=data.get("org", ""),
            state_repository=data.get("stateRepository", ""),
            max_active=int(limits.get("maxActive", DEFAULT_MAX_ACTIVE)),
            egress=tuple((str(entry["host"]), _port(entry["port"])) for entry in egress),
            dns=tuple(
                (str(entry["address"]), _port(entry.get("port", 53)))
                for entry in settings.get("dns") or []
            ),
            models=dict(settings.get("models") or {}),
            mesh=_mesh(data.get("org", ""), settings.get("mesh")),
            namespace_uid=data.get("namespaceUID") or body["metadata"].get("uid", ""),
            budget=limits.get("budget") or {},
            budget_left=_budget_left(data.get("budget")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return OrgSettings(data.get("org", ""), data.get("stateRepository", ""))


def _mesh(org: str, given: Any) -> MeshSettings | None:
    """None also for a mesh that cannot be read: it must not stop every agent of the org."""
    try:
        mesh = mesh_settings(org, given)
        return mesh if mesh is not None and all(mesh.address) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _budget_left(text: Any) -> BudgetLeft | None:
    """None also for a text that cannot be read: it must not stop every agent of the org."""
    try:
        return BudgetLeft.from_json(text) if text else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _port(value: Any) -> int:
    port = int(value)
    if not 0 < port < 65536:
        raise ValueError("not a port")
    return port


def _reason(value: Any) -> str:
    """A reason or phase, cleaned and bounded; empty if it is not text."""
    return clean_text(value, 128) if isinstance(value, str) else ""


def _message(value: Any) -> str:
    """A message, cleaned and bounded; empty if it is not text."""
    return clean_text(value, 1024) if isinstance(value, str) else ""


def _tail(value: Any) -> str:
    """The end of a log, which names the cause last; empty if it is not text."""
    return clean_text(value[-_MAX_TAIL:], _MAX_TAIL) if isinstance(value, str) else ""


def _was_given_up(body: Json) -> bool:
    """Whether the control plane set the pod unready because its node does not report.

    It changes only the status of condition Ready. A kubelet would also set a reason, and
    ContainersReady=False.
    """
    ready, containers = _condition(body, "Ready"), _condition(body, "ContainersReady")
    statuses = ready.get("status"), containers.get("status")
    return statuses == ("False", "True") and not ready.get("reason")


def _controller(meta: Json) -> str | None:
    for reference in meta.get("ownerReferences", ()):
        if reference.get("controller") and reference.get("kind") == labels.KIND_AGENT_TASK:
            return str(reference["uid"])
    return None


def _condition(body: Json, kind: str) -> Json:
    found = body.get("status", {}).get("conditions") or ()
    return next((c for c in found if c.get("type") == kind), {})


def _since(condition: Json) -> datetime | None:
    at = condition.get("lastTransitionTime")
    return parse_time(at) if at else None


def _container(status: Json) -> ContainerView:
    state = status.get("state") or {}
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    waiting = state.get("waiting") or {}
    return ContainerView(
        name=status["name"],
        running="running" in state,
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        waiting=_reason(waiting.get("reason")),
        message=_message(waiting.get("message")),
        last_reason=_reason(ended.get("reason")),
        last_exit=ended.get("exitCode"),
        last_finished=parse_time(ended["finishedAt"]) if ended.get("finishedAt") else None,
        last_message=_tail(ended.get("message")),
    )


def _artifact_digests(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (entry.partition("=") for entry in text.split(",") if entry)
    return tuple(sorted((name, digest) for name, _, digest in pairs))
