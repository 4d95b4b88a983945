"""What the task's ``verify`` command reports, and what the agent is asked to fix."""

from __future__ import annotations

from collections.abc import Sequence

from guildnet_agent.shim.command import OutputSink

MAX_FEEDBACK_BYTES = 16 * 1024
MAX_MESSAGE_CHARACTERS = 300


class TailSink:
    """Passes output on, and keeps the end of it."""

    def __init__(self, sink: OutputSink) -> None:
        self._sink = sink
        self._tail = b""

    def write(self, data: bytes) -> None:
        self._sink.write(data)
        self._tail = (self._tail + data)[-MAX_FEEDBACK_BYTES:]

    def flush(self) -> None:
        self._sink.flush()

    @property
    def tail(self) -> str:
        return self._tail.decode(errors="replace")


def failure_message(command: Sequence[str], code: int) -> str:
    """Which command failed, and how, in one short line."""
    shown = " ".join(" ".join(command).split())[:MAX_MESSAGE_CHARACTERS]
    return f"{shown} failed with exit code {code}"


def feedback(message: str, output: str) -> str:
    """The prompt that hands a failure back to the agent."""
    return (
        "Your work was verified, and it is not finished: the command that must succeed,\n"
        f"    {message}.\n"
        "Repair your work so that this command succeeds. Do not weaken what it checks. "
        f"The end of its output:\n\n{output}\n"
    )
