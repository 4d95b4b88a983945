"""What a decision can be: words only. Who decides is in `decide` and the modules it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from guildnet.agent_api.state import StopReason
from guildnet_operator.decisions.inputs import Observed
from guildnet_operator.views import PodView

RECHECK = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Start:
    """Tell the agent in `pod` to begin what the status names."""

    pod: PodView


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell the agent in `pod` to end and hand over its work."""

    pod: PodView
    reason: StopReason


@dataclass(frozen=True)
class Decision:
    """What to do, in this order: objects, artifacts, status, command.

    `children`: keep them as they are, ensure all of them with a pod, or park them without one.
    `listen`: the pod whose agent is to be listened to. `wake_at`: when to look again though
    nothing is heard.
    """

    status: Mapping[str, Any]
    children: Literal["keep", "ensure", "park"] = "keep"
    command: Start | Stop | None = None
    collect: bool = False
    listen: PodView | None = None
    wake_at: datetime | None = None


# A decision, or what is to be decided on instead: the same scene with its status moved on.
NextStep = Decision | Observed


def park_if_deployed(o: Observed) -> Literal["keep", "park"]:
    """Who waits for a turn has no pod, also when it had one."""
    return "park" if "Deployment" in o.children else "keep"
