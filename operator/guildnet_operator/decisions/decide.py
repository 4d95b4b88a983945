"""The operator's whole behaviour: from what is to what next. Pure.

`decide` asks its questions in the order in which their answers matter; what the answers are is
said in `begin`, `work` and `end`.
"""

from __future__ import annotations

from guildnet import conditions
from guildnet_operator.decisions.actions import Decision, NextStep
from guildnet_operator.decisions.finish import (
    after_finish,
    cancelled,
    is_cut_off,
    is_overdue,
    overdue,
    result_of,
    stop_agent,
    suspended,
)
from guildnet_operator.decisions.follow import conclude, follow, work
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.decisions.provision import (
    await_first_report,
    is_start_assigned,
    prepare,
    tell,
)
from guildnet_operator.decisions.status import first_status, next_run_status


def decide(o: Observed) -> Decision:
    """What next for one AgentTask."""
    answer = _decide_once(o)
    while isinstance(answer, Observed):
        answer = _decide_once(answer)
    return answer


def _decide_once(o: Observed) -> NextStep:
    if o.status.get("run", 0) == 0:
        return o.with_status(first_status(o))
    if o.status["run"] != o.task.run:
        return _change_run(o)
    if o.is_finished:
        return after_finish(o)
    if o.spec.get("cancel") or o.task.deleting:
        return stop_agent(o, "Cancelled") or cancelled(o)
    if o.spec.get("suspend"):
        return stop_agent(o, "Suspended") or conclude(o) or suspended(o)
    if o.reported is not None:
        return work(o, o.reported)
    if is_overdue(o):
        return stop_agent(o, "DeadlineExceeded") or overdue(o)
    if is_start_assigned(o):
        return tell(o)
    return prepare(o)


def _change_run(o: Observed) -> NextStep:
    """End what is under way, or let it end, then begin the run that the spec asks for."""
    status = o.status
    if conditions.is_finished(status, status["run"]):
        succeeded = conditions.find(status.get("conditions", ()), conditions.SUCCEEDED)
        result = str(succeeded["reason"]) if succeeded else conditions.CANCELLED
        return o.with_status(next_run_status(o, result))
    if o.spec.get("onChange") == "Ignore" and not _is_to_end(o):
        return _let_finish(o)
    ending = stop_agent(o, "Superseded")
    return ending or _next_run(o, conditions.CANCELLED)


def _let_finish(o: Observed) -> NextStep:
    """The run before goes on to its end, within its time."""
    if is_cut_off(o):
        return stop_agent(o, "DeadlineExceeded") or _next_run(o, conditions.DEADLINE_EXCEEDED)
    may_be_heard = o.deadline is not None or o.unreachable_for < o.unreachable_after
    if o.is_unreported and may_be_heard:
        return await_first_report(o)
    told = o.reported
    if told is not None and not told.is_over:
        return follow(o, told)
    return stop_agent(o, "Superseded") or _next_run(o, conditions.CANCELLED)


def _next_run(o: Observed, otherwise: str) -> Observed:
    """Begin it; the run before has the result that it came to by itself, or `otherwise`."""
    return o.with_status(next_run_status(o, result_of(o.reported) or otherwise))


def _is_to_end(o: Observed) -> bool:
    return bool(o.spec.get("cancel") or o.spec.get("suspend") or o.task.deleting)
