"""What an agent reports as its state is what the operator parses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from guildnet.agent_api.artifacts import (
    MAX_ARTIFACTS,
    OWN_DOCUMENTS,
    Artifact,
    RejectedArtifact,
    is_artifact_name,
)
from guildnet.agent_api.parsing import parse_state
from guildnet.agent_api.state import (
    MAX_CONTEXT_MESSAGE_CHARACTERS,
    MAX_LOG_TAIL_BYTES,
    MAX_MESH_ADDRESSES,
    MAX_MESH_MESSAGE_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_REJECTION_CHARACTERS,
    AgentState,
    ContextProgress,
    Failure,
    MeshPeer,
    Published,
)
from guildnet.digest import canonical_json

WHEN = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAMES = sorted([*OWN_DOCUMENTS, *(f"report_{number:02}.json" for number in range(MAX_ARTIFACTS))])
STATE = AgentState(
    run=1,
    attempt=2,
    start=3,
    step="Finished",
    outcome="Failed",
    failure=Failure("ForgeRefused", "m" * MAX_MESSAGE_CHARACTERS, infrastructure=True),
    started_at=WHEN,
    finished_at=WHEN,
    exit_code=1,
    contexts=(ContextProgress("web", "Failed", "m" * MAX_CONTEXT_MESSAGE_CHARACTERS),),
    branch="guildnet/acme/fix/1",
    commit="c" * 40,
    published=Published("BranchPushed", "m" * MAX_MESSAGE_CHARACTERS),
    pull_request={"url": "https://git.example/acme/web/pulls/1", "number": 1},
    last_run={"run": 1, "usage": {"tokens": 7}},
    usage={
        **dict.fromkeys(("requests", "inputTokens", "cachedInputTokens", "outputTokens"), 1),
        "models": {},
    },
    artifacts=tuple(Artifact(name, 2, "0" * 64) for name in NAMES),
    rejected_artifacts=(RejectedArtifact("B.json", "Invalid", "m" * MAX_REJECTION_CHARACTERS),),
    editor_serving=True,
    mesh=MeshPeer(
        "Running",
        "7",
        "fix-acme.mesh.test",
        ("100.64.0.7",) * MAX_MESH_ADDRESSES,
        "m" * MAX_MESH_MESSAGE_CHARACTERS,
    ),
    log_tail="x" * MAX_LOG_TAIL_BYTES,
)


@pytest.mark.parametrize("state", [STATE, AgentState()])
def test_a_reported_state_is_parsed_whole(state: AgentState) -> None:
    """Values at their bounds included: neither side cuts what the other allows."""
    assert parse_state(canonical_json(state.to_json())) == state


@pytest.mark.parametrize(
    "name", ["a.json\n", "A.json", "../a.json", "a.txt", "", 7, "a" * 51 + ".json"]
)
def test_an_artifact_name_is_checked_whole(name: object) -> None:
    assert not is_artifact_name(name)
    assert is_artifact_name("a" * 50 + ".json")
