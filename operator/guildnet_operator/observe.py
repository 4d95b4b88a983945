"""Gathers the input of a decision on one AgentTask: what is cached, and what must be asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from guildnet import conditions
from guildnet.errors import KubeError
from guildnet.kube import EVENTS, KubeClient
from guildnet.units import parse_time
from guildnet_operator.agents.sessions import AgentSessions
from guildnet_operator.cache import Cache
from guildnet_operator.decisions.admission import is_cooling_down
from guildnet_operator.decisions.inputs import INACTIVE_STEPS, STALLED_STEP, MeshView, Observed
from guildnet_operator.decisions.org_budget import is_budget_spent, waits_for_budget
from guildnet_operator.decisions.slots import Admission, Candidate, SlotTable
from guildnet_operator.lookups.cluster_dns import ClusterDns
from guildnet_operator.lookups.dns_servers import configured
from guildnet_operator.lookups.egress import UNRESOLVED, Resolver, egress_destinations
from guildnet_operator.lookups.limit_ranges import LimitRanges
from guildnet_operator.lookups.relays import Relays
from guildnet_operator.manifests import Plan, template_digest
from guildnet_operator.mesh.keeper import MeshKeeper
from guildnet_operator.references import Refusal, git_secrets, mesh_refusal, refusal
from guildnet_operator.settings import Settings
from guildnet_operator.views import EventView, OrgSettings, PodView, TaskView, event_view

_SILENT_POD = timedelta(seconds=8)


class Observer:
    """Calls `queue` with the name of each AgentTask whose admission has changed."""

    def __init__(
        self,
        *,
        settings: Settings,
        client: KubeClient,
        cache: Cache,
        agents: AgentSessions,
        resolver: Resolver,
        dns: ClusterDns,
        limit_ranges: LimitRanges,
        relays: Relays,
        mesh: MeshKeeper,
        queue: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._cache = cache
        self._agents = agents
        self._resolver = resolver
        self._dns = dns
        self._limit_ranges = limit_ranges
        self._relays = relays
        self._mesh = mesh
        self.slots = SlotTable(queue)
        self._is_seeded = False
        self._was_spent = False
        self.blocking_errors: dict[str, str] = {}

    async def observe(self, task: TaskView) -> tuple[Observed, Plan]:
        """The input of the decision, and the plan that child objects are built from."""
        org = self._cache.org()
        pods = self._cache.pods(task.name)
        finished = conditions.is_finished(task.status, task.run)
        is_up = any(pod.is_alive for pod in pods)
        plan = await self._plan(task, org, resolve=is_up or not finished)
        events = () if finished else await self._events(pods)
        # No await from here on, so that no other task takes the slot in between.
        observed = Observed(
            task=task,
            org=org,
            now=datetime.now(UTC),
            admission=self._admission(task, org),
            template="" if finished else template_digest(plan),
            refusal=None if finished else self._refusal(task, org),
            failed_dependency=self._failed_dependency(task),
            children=self._cache.children(task.uid),
            pods=pods,
            agent=self._agents.view(task.name),
            blocking_error=self.blocking_errors.get(task.name, ""),
            events=events,
            unreachable_after=self._settings.agent_unreachable_after,
            provision_timeout=self._settings.provision_timeout,
            mesh=self._mesh_view(plan),
        )
        return observed, plan

    async def _plan(self, task: TaskView, org: OrgSettings, *, resolve: bool) -> Plan:
        secrets = self._cache.secrets()
        egress = (
            await self._resolver.resolve(egress_destinations(task, org)) if resolve else UNRESOLVED
        )
        return Plan(
            task=task,
            org=org,
            operator_image=self._settings.operator_image,
            work_image=self._settings.work_image,
            mesh_image=self._settings.mesh_image,
            git_hosts={
                name: secrets[name].hosts for name in git_secrets(task.spec) if name in secrets
            },
            egress=(*egress.addresses, *(await self._relays.of(org.mesh) if resolve else ())),
            egress_complete=egress.is_complete,
            dns=configured(org.dns) if org.dns else await self._dns.servers(),
            limit_range_resources=await self._limit_ranges.resources(),
            mesh_refusal=mesh_refusal(org.mesh, task.org, secrets) if org.mesh else "",
        )

    def _mesh_view(self, plan: Plan) -> MeshView | None:
        if plan.org.mesh is None or not plan.editor_enabled:
            return None
        return MeshView(plan.mesh_refusal, self._mesh.key_error(plan.task.name))

    async def _events(self, pods: tuple[PodView, ...]) -> tuple[EventView, ...]:
        """Warnings about a pod that is slow to start; read only then."""
        pod = next((pod for pod in pods if pod.is_alive), None)
        if pod is None or not pod.scheduled or any(c.running for c in pod.containers):
            return ()
        if datetime.now(UTC) - pod.created < _SILENT_POD:
            return ()
        selector = f"involvedObject.uid={pod.uid},type=Warning"
        try:
            found = await self._client.list_all(EVENTS, field_selector=selector)
        except KubeError:
            return ()
        newest = sorted(found, key=lambda e: str(e.get("lastTimestamp") or ""), reverse=True)
        return tuple(map(event_view, newest[:5]))

    # --- the queue --------------------------------------------------------------------------

    def admit(self, task: TaskView) -> None:
        """Count its slot as taken now, before its status is written."""
        self.slots.put(task.name, _candidate(task, active=True))

    def forget(self, task: TaskView) -> None:
        self.slots.put(task.name, None)
        self.blocking_errors.pop(task.name, None)

    def _admission(self, task: TaskView, org: OrgSettings) -> Admission:
        is_spent = is_budget_spent(org, datetime.now(UTC))
        if not self._is_seeded or is_spent != self._was_spent:
            # Before any task is admitted, all that hold a slot must be known. And when the budget
            # is spent or renewed, all waiting tasks leave or join the queue at once: otherwise the
            # first one reconciled would be admitted before those ahead of it.
            for other in self._cache.tasks():
                self.slots.put(other.name, self._seeded(other))
            self._is_seeded, self._was_spent = True, is_spent
        self.slots.put(task.name, self._candidate_of(task))
        return self.slots.admission(task.name, org.max_active)

    def _seeded(self, task: TaskView) -> Candidate | None:
        """What an AgentTask counts as before its own reconciliation. One that cannot be judged
        keeps the slot that its status names; its own reconciliation reports why."""
        with suppress(Exception):
            return self._candidate_of(task)
        with suppress(Exception):
            return _candidate(task, active=True) if is_active(task) else None
        return None

    def _candidate_of(self, task: TaskView) -> Candidate | None:
        if conditions.is_finished(task.status, task.run):
            return None
        if is_active(task):
            return _candidate(task, active=True)
        now = datetime.now(UTC)
        if is_cooling_down(task.status, now):
            return None
        if waits_for_budget(task.status, self._cache.org(), now):
            return None
        if not _is_runnable(task) or self._refusal(task, self._cache.org()):
            return None
        return _candidate(task, active=False)

    def _refusal(self, task: TaskView, org: OrgSettings) -> Refusal | None:
        cache = self._cache
        uses = cache.config_map_uses()
        return refusal(task.spec, task.org, cache.secrets(), uses, org.models)

    def _failed_dependency(self, task: TaskView) -> str:
        for name in task.spec.get("dependsOn", ()):
            other = self._cache.task(name)
            if other is None or not conditions.is_finished(other.status, other.run):
                continue
            succeeded = conditions.find(other.status["conditions"], conditions.SUCCEEDED)
            if succeeded is not None and succeeded.get("status") == "False":
                return str(name)
        return ""


def _candidate(task: TaskView, *, active: bool) -> Candidate:
    yielded = task.status.get("yieldedAt")
    since = parse_time(yielded) if yielded else task.created
    return Candidate(task.name, int(task.spec.get("priority", 0)), since, active)


def is_active(task: TaskView) -> bool:
    """Whether it holds a slot: its agent works or is being started."""
    status = task.status
    ended = conditions.is_finished(status, status.get("run", 0))
    inactive = ended or status.get("step") in INACTIVE_STEPS
    return not inactive and status.get("attempt", 0) > 0


def _is_runnable(task: TaskView) -> bool:
    spec = task.spec
    waits = spec.get("dependenciesSucceeded") is False
    is_held = spec.get("suspend") or spec.get("cancel") or task.deleting
    return not waits and not is_held and task.status.get("step") != STALLED_STEP
