"""The order of the questions that decide what to do next for an AgentTask. Pure.

The answers are in `provision`, `follow` and `finish`.
"""

from __future__ import annotations

from guildnet import conditions
from guildnet_operator.decisions.actions import Decision, NextStep
from guildnet_operator.decisions.finish import (
    after_finish,
    finish_cancelled,
    finish_overdue,
    is_cut_off,
    is_overdue,
    result_of,
    stop_agent,
    suspend,
)
from guildnet_operator.decisions.follow import conclude, follow, proceed
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.decisions.provision import (
    await_first_report,
    is_start_assigned,
    provision,
    send_start,
)
from guildnet_operator.decisions.status import first_status, next_run_status


def decide(o: Observed) -> Decision:
    """What to do next for one AgentTask."""
    step = _decide_once(o)
    while isinstance(step, Observed):
        step = _decide_once(step)
    return step


def _decide_once(o: Observed) -> NextStep:
    if o.status.get("run", 0) == 0:
        return o.with_status(first_status(o))
    if o.status["run"] != o.task.run:
        return _change_run(o)
    if o.is_finished:
        return after_finish(o)
    if o.spec.get("cancel") or o.task.deleting:
        return stop_agent(o, "Cancelled") or finish_cancelled(o)
    if o.spec.get("suspend"):
        return stop_agent(o, "Suspended") or conclude(o) or suspend(o)
    if o.reported is not None:
        return proceed(o, o.reported)
    if is_overdue(o):
        return stop_agent(o, "DeadlineExceeded") or finish_overdue(o)
    if is_start_assigned(o):
        return send_start(o)
    return provision(o)


def _change_run(o: Observed) -> NextStep:
    """End the previous run, or let it finish, then start the run that the spec asks for."""
    status = o.status
    if conditions.is_finished(status, status["run"]):
        succeeded = conditions.find(status.get("conditions", ()), conditions.SUCCEEDED)
        result = str(succeeded["reason"]) if succeeded else conditions.CANCELLED
        return o.with_status(next_run_status(o, result))
    if o.spec.get("onChange") == "Ignore" and not _must_end(o):
        return _let_finish(o)
    return stop_agent(o, "Superseded") or _next_run(o, conditions.CANCELLED)


def _let_finish(o: Observed) -> NextStep:
    """Follow the previous run's attempt to its end, within its timeout."""
    if is_cut_off(o):
        return stop_agent(o, "DeadlineExceeded") or _next_run(o, conditions.DEADLINE_EXCEEDED)
    may_still_report = o.deadline is not None or o.unreachable_for < o.unreachable_after
    if o.is_unreported and may_still_report:
        return await_first_report(o)
    state = o.reported
    if state is not None and not state.is_over:
        return follow(o, state)
    return stop_agent(o, "Superseded") or _next_run(o, conditions.CANCELLED)


def _next_run(o: Observed, otherwise: str) -> Observed:
    """Start the next run; the previous one keeps its own result, or `otherwise`."""
    return o.with_status(next_run_status(o, result_of(o.reported) or otherwise))


def _must_end(o: Observed) -> bool:
    return bool(o.spec.get("cancel") or o.spec.get("suspend") or o.task.deleting)
