"""What a decision consists of: the values that `act` carries out. Pure."""

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
    """Send `POST /start` to the agent in `pod`, with the run, attempt and start in status."""

    pod: PodView


@dataclass(frozen=True, slots=True)
class Stop:
    """Send `POST /stop` to the agent in `pod`: it ends its command and publishes the work."""

    pod: PodView
    reason: StopReason


@dataclass(frozen=True)
class Decision:
    """What to do, in this order: child objects, artifacts, status, command to the agent.

    `children`: keep them, ensure all of them with a pod, or park them without a pod. `poll`: the
    pod whose agent to poll. `wake_at`: when to reconcile again if nothing happens before.
    """

    status: Mapping[str, Any]
    children: Literal["keep", "ensure", "park"] = "keep"
    command: Start | Stop | None = None
    collect: bool = False
    poll: PodView | None = None
    wake_at: datetime | None = None


# A decision, or the same AgentTask with the status moved on, to be decided on instead.
NextStep = Decision | Observed


def park_if_deployed(o: Observed) -> Literal["keep", "park"]:
    """A task that waits has no pod: an existing Deployment is scaled down."""
    return "park" if "Deployment" in o.children else "keep"
