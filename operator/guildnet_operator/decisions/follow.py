"""While an agent works: mirror its state, and act on the end it reports. Pure."""

from __future__ import annotations

from datetime import datetime

from guildnet import conditions
from guildnet.agent_api.state import AgentState
from guildnet_operator.decisions.actions import RECHECK, Decision, NextStep
from guildnet_operator.decisions.diagnosis import pod_failure, report_unreachable
from guildnet_operator.decisions.finish import (
    collect_first,
    failed_reason,
    failure_text,
    finish,
    finish_overdue,
    is_cut_off,
    is_overdue,
    result_of,
    stop_agent,
)
from guildnet_operator.decisions.inputs import Observed, collect_again_at, has_more_to_collect
from guildnet_operator.decisions.provision import provision
from guildnet_operator.decisions.status import NOT_RETRIED, StatusDraft


def proceed(o: Observed, state: AgentState) -> NextStep:
    """The agent has reported the start that status names: follow it, or act on its end."""
    if not state.is_over:
        if is_cut_off(o):
            return stop_agent(o, "DeadlineExceeded") or finish_overdue(o)
        return follow(o, state)
    return conclude(o) or (finish_overdue(o) if is_overdue(o) else provision(o))


def conclude(o: Observed) -> NextStep | None:
    """Act on the result that the agent reported; None if it reported none."""
    state = o.reported
    result = result_of(state)
    if state is None or result is None:
        return None
    if result in (conditions.TASK_SUCCEEDED, conditions.BUDGET_EXCEEDED):
        return finish(o, result)
    return _attempt_failed(o, state)


def follow(o: Observed, state: AgentState) -> Decision:
    """Mirror the agent's state into status, and keep polling it."""
    draft = StatusDraft(o).accepted().pod().agent(state)
    attempt, retries = o.status["attempt"], o.spec.get("retries", 0)
    message = f"{state.step}: attempt {attempt} of {retries + 1}"
    failure = pod_failure(o)
    failed = [context for context in state.contexts if context.state == "Failed"]
    if failed:
        draft.condition(
            conditions.READY, "False", "ContextFailed", f"{failed[0].name}: {failed[0].message}"
        )
    elif failure is not None and failure.type == conditions.READY:
        draft.failure(failure)  # the supervisor answers, but the work container does not start
    else:
        draft.condition(conditions.READY, "True", "AgentServing", message)
    draft.put(phase=state.step).working(state.step, message)
    report_unreachable(o, draft)
    collect = has_more_to_collect(o, state)
    again = collect_again_at(o) if collect else None
    deadline = None if is_overdue(o) else o.deadline
    return Decision(
        draft.build(),
        collect=collect,
        poll=o.assigned_pod,
        wake_at=min(filter(None, (deadline, _recheck_at(o), again)), default=None),
    )


def _recheck_at(o: Observed) -> datetime | None:
    return o.now + RECHECK if o.agent is not None and o.agent.failing_since else None


def _attempt_failed(o: Observed, state: AgentState) -> NextStep:
    retries = o.spec.get("retries", 0)
    attempt = o.status["attempt"]
    if state.failure is not None and state.failure.reason in NOT_RETRIED:
        return finish(o, conditions.TASK_FAILED)
    if attempt > retries:
        result = conditions.RETRIES_EXHAUSTED if retries else conditions.TASK_FAILED
        return finish(o, result)
    if has_more_to_collect(o, state):
        return collect_first(o, state)
    return _try_again(o, state)


def _try_again(o: Observed, state: AgentState) -> Decision:
    """Begin the next attempt; status first says why this one failed."""
    attempt = o.status["attempt"]
    draft = StatusDraft(o).agent(state)
    draft.put(attempt=attempt + 1, start=0, pod=None, startedAt=None, step="Waiting")
    draft.put(admittedAt=None)
    message = f"{failure_text(o, state)}; starting the next attempt"
    draft.condition(conditions.READY, "False", failed_reason(state), message)
    return Decision(draft.working("Retrying", message).build(), wake_at=o.now)
