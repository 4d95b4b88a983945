"""Reconciles one AgentTask: observe, decide, act; queued again if that changed something."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from guildnet.conditions import is_finished
from guildnet.errors import AgentError, KubeConflict, KubeError, KubeForbidden, KubeInvalid
from guildnet_operator.act import Actor
from guildnet_operator.agents.sessions import AgentSessions
from guildnet_operator.cache import Cache
from guildnet_operator.decisions.actions import Decision
from guildnet_operator.decisions.decide import decide
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.internal_errors import describe_error, internal_error_status, is_transient
from guildnet_operator.manifests import Plan
from guildnet_operator.mesh.keeper import MeshKeeper
from guildnet_operator.metrics import Metrics
from guildnet_operator.observe import Observer
from guildnet_operator.views import TaskView
from guildnet_operator.work_queue import WorkQueue

logger = logging.getLogger(__name__)

_SOON = timedelta(milliseconds=200)


class Reconciler:
    """Reconciles AgentTasks by name, one for each worker at a time."""

    def __init__(
        self,
        *,
        queue: WorkQueue,
        cache: Cache,
        agents: AgentSessions,
        observer: Observer,
        mesh: MeshKeeper,
        actor: Actor,
        metrics: Metrics,
    ) -> None:
        self.queue = queue
        self._metrics = metrics
        self._cache = cache
        self._agents = agents
        self._observer = observer
        self.mesh = mesh
        self._actor = actor
        self._name_conflicts: set[str] = set()

    async def reconcile(self, name: str) -> None:
        """Bring one AgentTask one step further; queue it again if the step changed something.

        Raises what a step raised, so that the queue tries again later. An unexpected error is
        written into this AgentTask's status first; other AgentTasks go on.
        """
        try:
            await self._reconcile(name)
        except Exception as error:
            if not is_transient(error):
                await self._report(name, error)
            raise

    async def _report(self, name: str, error: Exception) -> None:
        """Write an unexpected error into the log, the metrics and the AgentTask's status."""
        self._metrics.internal_error()
        logger.error("%s", describe_error(error), exc_info=error, extra={"task": name})
        try:
            task = self._cache.task(name)
            status = (
                internal_error_status(task, error, datetime.now(UTC)) if task is not None else None
            )
            if task is not None and status is not None:
                await self._actor.write_status(task, status, datetime.now(UTC))
        except Exception as failure:
            extra = {"task": name}
            logger.warning(
                "cannot write the error to its status: %s", describe_error(failure), extra=extra
            )

    async def _reconcile(self, name: str) -> None:
        task = self._cache.task(name)
        if task is None:
            return
        observed, plan = await self._observer.observe(task)
        self.mesh.follow(observed)
        decision = decide(observed)
        if decision.children == "ensure":
            self._observer.admit(task)
        try:
            await self._carry_out(task, observed, plan, decision)
        except KubeConflict as error:
            # The decision was made from an old status: the watch delivers the new one.
            logger.debug("%s", error, extra={"task": name})
            self.queue.put_after(name, _SOON)
            return
        self._set_polling(task, decision)
        if decision.wake_at is not None:
            # Never at once: a step that changed something has queued the key itself.
            self.queue.put_after(name, max(_SOON, decision.wake_at - datetime.now(UTC)))
        else:
            self.queue.cancel_timer(name)
        if decision.children == "keep" and observed.pods_left and not task.deleting:
            # Last, so that its failure delays nothing else.
            await self._actor.ensure_policy(observed, plan)
            await self.mesh.provide_key(observed.with_status(decision.status), plan)

    async def _carry_out(self, task: TaskView, o: Observed, plan: Plan, decision: Decision) -> None:
        name = task.name
        if decision.children == "ensure":
            if await self._apply_children(o.with_status(decision.status), plan):
                self.queue.put(name)
                return  # the decision was made without the new error
        elif decision.children == "park":
            await self._actor.park(o)
        if decision.collect and await self._actor.collect(o):
            self.queue.put(name)
        if await self._actor.write_status(task, decision.status, o.now):
            self.queue.put(name)
            if is_finished(decision.status, task.run):
                self._queue_dependents(name)
        if decision.command is not None:
            try:
                await self._actor.command(o, decision.command)
            except AgentError as error:
                logger.warning(
                    "the agent did not accept its command: %s", error, extra={"task": name}
                )

    async def _apply_children(self, o: Observed, plan: Plan) -> bool:
        """Apply the child objects; return whether the blocking error has changed."""
        name, blocking = o.task.name, ""
        try:
            await self._actor.apply_children(o, plan)
            self._name_conflicts.discard(name)
        except KubeError as error:
            blocking = self._blocking_error(name, error)
            if not blocking:
                raise
        self._observer.blocking_errors[name] = blocking
        return bool(blocking) != bool(o.blocking_error)

    def _blocking_error(self, name: str, error: KubeError) -> str:
        """The error to report as blocking; empty if the next try may succeed."""
        if _is_refusal(error):
            return error.message
        if error.reason != "AlreadyExists":
            return ""
        if name not in self._name_conflicts:
            # It may be our own object, whose creation was not answered: the watch will show it.
            self._name_conflicts.add(name)
            return ""
        return f"{error.message}, and the operator did not create it: delete it"

    def _set_polling(self, task: TaskView, decision: Decision) -> None:
        if decision.poll is not None:
            self._agents.start_polling(task, decision.poll)
        else:
            self._agents.stop_polling(task.name)

    def _queue_dependents(self, name: str) -> None:
        for other in self._cache.depending_on(name):
            self.queue.put(other)

    def forget(self, task: TaskView) -> None:
        """Drop what is known of a deleted AgentTask; its objects are garbage collected."""
        self._agents.forget(task)
        self.mesh.forget(task)
        self._observer.forget(task)
        self._cache.forget(task)
        self._name_conflicts.discard(task.name)
        self.queue.cancel_timer(task.name)
        self._queue_dependents(task.name)


def _is_refusal(error: KubeError) -> bool:
    """Whether the API server will refuse the object again. It answers 500 if an admission webhook
    does not respond."""
    return isinstance(error, KubeForbidden | KubeInvalid) or error.status == 500
