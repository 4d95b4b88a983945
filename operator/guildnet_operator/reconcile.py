"""One AgentTask: observe, decide, act; and once more while something changed by it."""

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
from guildnet_operator.metrics import Metrics
from guildnet_operator.observe import Observer
from guildnet_operator.views import TaskView
from guildnet_operator.work_queue import WorkQueue

logger = logging.getLogger(__name__)

_SOON = timedelta(milliseconds=200)


class Reconciler:
    """Works on one key at a time for each of its callers; keys are names of AgentTasks."""

    def __init__(
        self,
        *,
        queue: WorkQueue,
        cache: Cache,
        agents: AgentSessions,
        observer: Observer,
        actor: Actor,
        metrics: Metrics,
    ) -> None:
        self.queue = queue
        self._metrics = metrics
        self._cache = cache
        self._agents = agents
        self._observer = observer
        self._actor = actor
        self._taken: set[str] = set()

    async def reconcile(self, name: str) -> None:
        """Bring one AgentTask a step further; it is queued again where a step changed something.

        Raises what a step raised, so that the queue tries again later. An error that nobody
        foresaw is a condition of this AgentTask first: it stops no other.
        """
        try:
            await self._reconcile(name)
        except Exception as error:
            if not is_transient(error):
                await self._report(name, error)
            raise

    async def _report(self, name: str, error: Exception) -> None:
        """Write an unforeseen error into the log, the metrics and the AgentTask's status."""
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
            logger.warning("its status cannot say so: %s", describe_error(failure), extra=extra)

    async def _reconcile(self, name: str) -> None:
        task = self._cache.task(name)
        if task is None:
            return
        observed, plan = await self._observer.observe(task)
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
        self._listen(task, decision)
        if decision.wake_at is not None:
            # A step that changed something queued the key; a time in the past waits a bit.
            self.queue.put_after(name, max(_SOON, decision.wake_at - datetime.now(UTC)))
        else:
            self.queue.cancel_timer(name)
        if decision.children == "keep" and observed.pods_left and not task.deleting:
            # Last and by itself: its failure delays nothing else.
            await self._actor.ensure_policy(observed, plan)

    async def _carry_out(self, task: TaskView, o: Observed, plan: Plan, decision: Decision) -> None:
        name = task.name
        if decision.children == "ensure":
            if await self._apply_children(o, plan):
                self.queue.put(name)
                return  # the decision did not know of the problem
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
                    "the agent did not take its command: %s", error, extra={"task": name}
                )

    async def _apply_children(self, o: Observed, plan: Plan) -> bool:
        """Apply the child objects; return whether the blocking error has changed."""
        name, problem = o.task.name, ""
        try:
            await self._actor.apply_children(o, plan)
            self._taken.discard(name)
        except KubeError as error:
            problem = self._problem(name, error)
            if not problem:
                raise
        self._observer.problems[name] = problem
        return bool(problem) != bool(o.problem)

    def _problem(self, name: str, error: KubeError) -> str:
        """The problem to report; empty where the next try may succeed."""
        if _is_refusal(error):
            return error.message
        if error.reason != "AlreadyExists":
            return ""
        if name not in self._taken:
            self._taken.add(name)  # our own, perhaps, whose answer was lost: the watch tells
            return ""
        return f"{error.message}, and is not the operator's: delete it"

    def _listen(self, task: TaskView, decision: Decision) -> None:
        if decision.listen is not None:
            self._agents.listen(task, decision.listen)
        else:
            self._agents.stop_listening(task.name)

    def _queue_dependents(self, name: str) -> None:
        for other in self._cache.depending_on(name):
            self.queue.put(other)

    def forget(self, task: TaskView) -> None:
        """The AgentTask is gone; its objects go with it."""
        self._agents.forget(task)
        self._observer.forget(task)
        self._cache.forget(task)
        self._taken.discard(task.name)
        self.queue.cancel_timer(task.name)
        self._queue_dependents(task.name)


def _is_refusal(error: KubeError) -> bool:
    """Whether the API server will refuse the object again. 500 is what it answers where an
    admission webhook is away."""
    return isinstance(error, KubeForbidden | KubeInvalid) or error.status == 500
