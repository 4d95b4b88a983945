"""Whether a command's result is a success, and the failure to report if not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from guildnet.agent_api.state import Failure
from guildnet.units import rfc3339
from guildnet_agent.job import Result
from guildnet_agent.presets.preset import Outcome

_LAST_LINES = 10
_LAST_CHARACTERS = 900
_SIGNALS = {130: "SIGINT", 134: "SIGABRT", 137: "SIGKILL", 139: "SIGSEGV", 143: "SIGTERM"}


def find_failure(result: Result, log_tail: str, exhausted: str | None = None) -> Failure | None:
    """Why the start failed; None when the command succeeded or was stopped.

    A restarted container costs a start (infrastructure); the command's own exit ends the attempt.
    ``exhausted`` says that the budget was spent; a command that succeeded all the same did so with
    what it had.
    """
    if result.interrupted:
        return Failure(
            "ContainerRestarted",
            "the work container restarted while the command ran (out of memory, or killed by the "
            "node); the command does not run again in this start",
            infrastructure=True,
        )
    if result.failure and result.started_at is None:
        return Failure("ContextFailed", result.failure)
    is_success = result.exit_code == 0 and (result.outcome is None or result.outcome.is_success)
    if exhausted and not is_success:
        return Failure("BudgetExceeded", exhausted)
    if result.stopped:
        return None
    if result.outcome and result.outcome.message and not is_success:
        return Failure("TaskFailed", _outcome_message(result.outcome, log_tail))
    if result.exit_code != 0:
        return Failure("TaskFailed", _exit_message(result.exit_code, log_tail))
    if result.failure:
        return Failure("TaskFailed", f"the command succeeded, but: {result.failure}")
    if result.unbundled:
        # Running the command again would cost as much and change nothing.
        return Failure(
            "PushRejected",
            f"the command succeeded, but its work cannot be handed over: {result.unbundled}; "
            "the work is in the workspace, which is deleted after the task's TTL",
        )
    return None


_KINDS: Mapping[str, str] = {
    "model_error": "its model endpoint failed",
    "refused": "the model refused",
    "limit": "it reached one of its own limits",
    "incomplete": "it ended before it was done",
    "failed": "it failed",
    "success": "it reports success, but its exit code does not",
}


def _outcome_message(outcome: Outcome, log_tail: str) -> str:
    text = f"the agent did not finish: {_KINDS.get(outcome.kind, '')}: {outcome.message}"
    if outcome.kind == "unverified":
        text = f"the work does not pass verify: {outcome.message}"
    lines = "\n".join(log_tail.strip().splitlines()[-_LAST_LINES:])[-_LAST_CHARACTERS:]
    return text + (f"; its last lines:\n{lines}" if lines else "")


def _exit_message(code: int | None, log_tail: str) -> str:
    signal_name = _SIGNALS.get(code or 0)
    how = f"exit code {code}" + (f" ({signal_name})" if signal_name else "")
    lines = "\n".join(log_tail.strip().splitlines()[-_LAST_LINES:])[-_LAST_CHARACTERS:]
    return f"the command ended with {how}" + (f"; its last lines:\n{lines}" if lines else "")


def last_run(
    result: Result, started_at: datetime, finished_at: datetime, usage: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of ``last_run.json``, with the times that the supervisor measured.

    ``usage`` is the gateway's count, or what the agent reported, which is then marked as such.
    """
    return {
        "run": result.id.run,
        "attempt": result.id.attempt,
        "exitCode": result.exit_code,
        "startedAt": rfc3339(started_at),
        "finishedAt": rfc3339(finished_at),
        "usage": dict(usage),
    }
