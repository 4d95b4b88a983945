"""What the operator knows of one agent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from guildnet.agent_api.state import AgentState

#: A run, its attempt, and the attempt's start.
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class AgentView:
    """The last `state` that the agent in `pod` (a uid) reported, and how polling it goes.

    `failing_pod`: the pod whose agent does not answer, if it is another one. `stop_sent`: the last
    stop command: for which start, the reason, and when.
    """

    pod: str
    state: AgentState | None = None
    failing_since: datetime | None = None
    failing_pod: str = ""
    error: str = ""
    stop_sent: tuple[Triple, str, datetime] | None = None
    collect_failures: int = 0
    collect_error: str = ""
