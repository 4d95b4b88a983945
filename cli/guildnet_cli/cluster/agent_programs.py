"""Whether the images of an org's tasks contain the programs of their presets. Pure.

Only a run shows it: the images are the org's own, and nothing else starts them. So the last run of
each pair of preset and image counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guildnet.model_rules import PRESET_PROTOCOLS, SHELL

_NOT_FOUND = 127
_DEFAULT_IMAGE = "the operator's default image"


def missing_programs(tasks: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """(present, missing), each as `PRESET in IMAGE`, from the last runs of AgentTasks."""
    last: dict[str, tuple[str, bool]] = {}
    for task in tasks:
        agent = task.get("spec", {}).get("agent", {})
        run = task.get("status", {}).get("lastRun") or {}
        preset = agent.get("preset", SHELL)
        if preset == SHELL or preset not in PRESET_PROTOCOLS or "exitCode" not in run:
            continue
        pair = f"{preset} in {agent.get('image', _DEFAULT_IMAGE)}"
        ended = str(run.get("finishedAt", ""))
        if pair not in last or ended > last[pair][0]:
            last[pair] = (ended, run["exitCode"] == _NOT_FOUND)
    present = sorted(pair for pair, (_, is_missing) in last.items() if not is_missing)
    return present, sorted(last.keys() - set(present))
