"""Rules for an agent's settings after an org's defaults and a task's settings are merged. Pure.

A schema cannot check them: each of the two files is valid on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guildnet.units import quantity_value

# Of the AgentTask's schema: an org's and a task's environment must fit into it together.
MAX_ENV = 64
MAX_ARGUMENT_BYTES = 128 * 1024 - 1
"""Linux limits each argument of a program (MAX_ARG_STRLEN, without the final NUL)."""
PROMPT_ARGUMENT = "{prompt}"


def agent_problems(agent: Mapping[str, Any], prompt: str) -> Iterator[str]:
    """The reasons why an agent with these settings cannot start."""
    if len(agent.get("env", ())) > MAX_ENV:
        yield f"spec.agent.env: {len(agent['env'])} entries with the org's; at most {MAX_ENV}"
    if agent.get("preset", "shell") == "shell" and "command" not in agent:
        yield "spec.agent: no command; give one here or as a default in the org's file"
    size = len(prompt.encode())
    if PROMPT_ARGUMENT in agent.get("command", ()) and size > MAX_ARGUMENT_BYTES:
        yield (
            f"spec.prompt: {size:,} bytes do not fit into the argument {{prompt}}, which holds "
            f"{MAX_ARGUMENT_BYTES:,}; let the command read the file $GUILDNET_PROMPT_FILE"
        )
    yield from resource_problems(agent)


def resource_problems(agent: Mapping[str, Any]) -> Iterator[str]:
    """Requests that exceed their limits: an API server rejects such a pod."""
    resources = agent.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name in sorted(requests.keys() & limits.keys()):
        if quantity_value(requests[name]) > quantity_value(limits[name]):
            yield (
                f"spec.agent.resources: the request of {requests[name]} {name} is above the limit "
                f"of {limits[name]}; raise the limit here or in the org's file"
            )
