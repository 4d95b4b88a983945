"""The operator's whole behaviour: from what is to what next. Pure.

`decide` asks its questions in the order in which their answers matter; what the answers are is
said in `begin`, `work` and `end`.
"""

from __future__ import annotations

from guildnet import conditions
from guildnet_operator.begin import is_allocated, prepare, tell
from guildnet_operator.decision import Answer, Decision
from guildnet_operator.end import (
    after_the_end,
    cancelled,
    end_work,
    is_overdue,
    overdue,
    result_of,
    suspended,
)
from guildnet_operator.observed import Observed
from guildnet_operator.status import first_status, next_run_status
from guildnet_operator.work import follow, own_end, work


def decide(o: Observed) -> Decision:
    """What next for one AgentTask."""
    answer = _ask(o)
    while isinstance(answer, Observed):
        answer = _ask(answer)
    return answer


def _ask(o: Observed) -> Answer:
    if o.status.get("run", 0) == 0:
        return o.with_status(first_status(o))
    if o.status["run"] != o.task.run:
        return _change_run(o)
    if o.is_finished:
        return after_the_end(o)
    if o.spec.get("cancel") or o.task.deleting:
        return end_work(o, "Cancelled") or cancelled(o)
    if o.spec.get("suspend"):
        return end_work(o, "Suspended") or own_end(o) or suspended(o)
    if o.told is not None:
        return work(o, o.told)
    if is_overdue(o):
        return end_work(o, "DeadlineExceeded") or overdue(o)
    if is_allocated(o):
        return tell(o)
    return prepare(o)


def _change_run(o: Observed) -> Answer:
    """End what is under way, or let it end, then begin the run that the spec asks for."""
    status = o.status
    if conditions.is_finished(status, status["run"]):
        succeeded = conditions.find(status.get("conditions", ()), conditions.SUCCEEDED)
        result = str(succeeded["reason"]) if succeeded else conditions.CANCELLED
        return o.with_status(next_run_status(o, result))
    told, let_finish = o.told, o.spec.get("onChange") == "Ignore"
    if let_finish and told is not None and not told.is_over and not _is_to_end(o):
        return follow(o, told)
    ending = end_work(o, "Superseded")
    if ending is not None:
        return ending
    return o.with_status(next_run_status(o, result_of(told) or conditions.CANCELLED))


def _is_to_end(o: Observed) -> bool:
    return bool(o.spec.get("cancel") or o.spec.get("suspend") or o.task.deleting)
