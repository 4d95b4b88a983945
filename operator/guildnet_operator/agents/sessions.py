"""One long poll for each agent, and the last state that each reported.

Nothing kept here is needed after a restart: an agent answers the first poll at once.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from guildnet.agent_api.signing import parse_key
from guildnet.agent_api.state import AgentState
from guildnet.backoff import Backoff
from guildnet.errors import AgentAnswerRejected, AgentError, AgentUnavailable, KubeError
from guildnet.kube import SECRETS, KubeClient
from guildnet_operator.agents.client import AgentAddress, AgentClient
from guildnet_operator.agents.view import AgentView, Triple
from guildnet_operator.internal_errors import describe_error
from guildnet_operator.manifests.secret import API_KEY
from guildnet_operator.views import PodView, TaskView

logger = logging.getLogger(__name__)

RETRY = Backoff(timedelta(milliseconds=200), timedelta(seconds=5))
# After 20 quick answers in a row an agent is polled once a second: a state that changes all the
# time must not keep the operator and the API server busy.
_QUICK_SECONDS = 1.0
_MAX_QUICK_ANSWERS = 20


@dataclass(frozen=True, slots=True)
class _Poll:
    pod: str
    task: asyncio.Task[None]


class AgentSessions:
    """The view of each agent; `on_change` gets the name of an AgentTask whose view changed."""

    def __init__(
        self,
        client: KubeClient,
        on_change: Callable[[str], None],
        on_internal_error: Callable[[], None],
    ) -> None:
        self._client = client
        self.api = AgentClient(client)
        self._on_change = on_change
        self._on_internal_error = on_internal_error
        self._views: dict[str, AgentView] = {}
        self._polls: dict[str, _Poll] = {}
        self._keys: dict[str, bytes] = {}

    def view(self, name: str) -> AgentView | None:
        return self._views.get(name)

    async def address(self, task: TaskView, pod: PodView) -> AgentAddress:
        """The address of the agent. Raises AgentUnavailable if its Secret has no valid key."""
        key = self._keys.get(task.uid)
        if key is None:
            try:
                secret = await self._client.get(SECRETS, task.child_name, task.namespace)
                key = parse_key(base64.b64decode(secret["data"][API_KEY]))
            except (KubeError, KeyError, TypeError, ValueError) as error:
                raise AgentUnavailable(
                    f"Secret {task.child_name} has no valid key of the agent API: {error}",
                    cure="delete that Secret and the agent's pod; the operator creates both again",
                ) from error
            self._keys[task.uid] = key
        return AgentAddress(task.namespace, pod.name, key)

    # --- polling ----------------------------------------------------------------------------

    def start_polling(self, task: TaskView, pod: PodView) -> None:
        """Poll the agent in this pod, and no longer one in another pod of the AgentTask."""
        current = self._polls.get(task.name)
        if current is not None and current.pod == pod.uid and not current.task.done():
            return
        self.stop_polling(task.name)
        poll = asyncio.create_task(self._poll(task, pod), name=f"agent {task.name}")
        poll.add_done_callback(lambda ended: self._ended(task.name, ended))
        self._polls[task.name] = _Poll(pod.uid, poll)

    def _ended(self, name: str, poll: asyncio.Task[None]) -> None:
        """A poll ended by an error: the next reconciliation starts it again."""
        if not poll.cancelled() and poll.exception() is not None:
            self._on_internal_error()
            logger.error("the poll ended", exc_info=poll.exception(), extra={"task": name})
            self._on_change(name)

    def stop_polling(self, name: str) -> None:
        poll = self._polls.pop(name, None)
        if poll is not None:
            poll.task.cancel()

    def forget(self, task: TaskView) -> None:
        self.stop_polling(task.name)
        self._views.pop(task.name, None)
        self._keys.pop(task.uid, None)

    async def close(self) -> None:
        tasks = [poll.task for poll in self._polls.values()]
        for name in list(self._polls):
            self.stop_polling(name)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll(self, task: TaskView, pod: PodView) -> None:
        """Poll until cancelled; no answer and no error ends it."""
        etag: str | None = None
        failures = quick = 0
        while True:
            asked_at = time.monotonic()
            try:
                etag = await self._ask(task, pod, etag)
                failures = 0
                quick = quick + 1 if time.monotonic() - asked_at < _QUICK_SECONDS else 0
                if quick > _MAX_QUICK_ANSWERS:
                    await asyncio.sleep(_QUICK_SECONDS)
                continue
            except AgentError as error:
                if isinstance(error, AgentAnswerRejected):
                    self._keys.pop(task.uid, None)  # the Secret may have been replaced
                self._failed(task.name, pod, error)
            except Exception as error:
                self._on_internal_error()
                logger.exception("polling the agent failed", extra={"task": task.name})
                self._failed(task.name, pod, AgentUnavailable(describe_error(error)))
            etag = None
            failures += 1
            await asyncio.sleep(RETRY.pause(failures).total_seconds())

    async def _ask(self, task: TaskView, pod: PodView, etag: str | None) -> str | None:
        """Wait for the next state and record it; return its ETag."""
        address = await self.address(task, pod)
        answer = await self.api.state(address, etag)
        if answer is None:
            self._answered(task.name, pod)
            return etag
        state, etag = answer
        self.record_state(task.name, pod, state)
        return etag

    # --- recording -------------------------------------------------------------------------

    def record_state(self, name: str, pod: PodView, state: AgentState) -> None:
        """Record a state that the agent answered, to whichever request."""
        before = self._views.get(name)
        if before is None or before.pod != pod.uid:
            before = AgentView(pod.uid)
        if before.state is None or _has_other_results(before.state, state):
            before = replace(before, collect_failures=0, collect_error="")
        self._show(name, replace(before, state=state, failing_since=None, failing_pod="", error=""))

    def record_stop(self, name: str, pod: PodView, triple: Triple, reason: str) -> None:
        view = self._views.get(name) or AgentView(pod.uid)
        self._views[name] = replace(view, stop_sent=(triple, reason, _now()))

    def collecting_failed(self, name: str, error: str) -> None:
        view = self._views.get(name)
        if view is not None:
            failures = view.collect_failures + 1
            self._views[name] = replace(view, collect_failures=failures, collect_error=error)

    def collected(self, name: str) -> None:
        view = self._views.get(name)
        if view is not None:
            self._views[name] = replace(view, collect_failures=0, collect_error="")

    def _answered(self, name: str, pod: PodView) -> None:
        view = self._views.get(name)
        if view is not None and view.pod == pod.uid and view.failing_since is not None:
            self._show(name, replace(view, failing_since=None, failing_pod="", error=""))

    def _failed(self, name: str, pod: PodView, error: AgentError) -> None:
        if isinstance(error, AgentAnswerRejected):
            logger.warning("rejected the agent's answer: %s", error, extra={"task": name})
        before = self._views.get(name)
        # The last state of an earlier pod is kept until the new one answers.
        if before is None or (before.pod != pod.uid and before.state is None):
            before = AgentView(pod.uid)
        is_same = (before.failing_pod or before.pod) == pod.uid
        since = (before.failing_since if is_same else None) or _now()
        failing = replace(before, failing_since=since, failing_pod=pod.uid, error=str(error)[:300])
        self._show(name, failing)

    def _show(self, name: str, view: AgentView) -> None:
        before = self._views.get(name)
        self._views[name] = view
        if before != view:
            self._on_change(name)


def _has_other_results(before: AgentState, after: AgentState) -> bool:
    """Whether the start, its artifacts or its end changed, which resets the failed fetches."""
    return (before.triple, before.artifacts, before.is_over) != (
        after.triple,
        after.artifacts,
        after.is_over,
    )


def _now() -> datetime:
    return datetime.now(UTC)
