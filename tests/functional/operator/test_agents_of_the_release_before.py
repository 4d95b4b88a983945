"""An operator of this version and agents of the release before understand each other, and the
other way round: after an upgrade, and after a rollback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.operations.versions import THIS, Version, build_release_before

# Prints the state of an agent at work, as its supervisor serves it.
STATE = """
from guildnet.agent_api.state import AgentState, ContextProgress, Failure
from guildnet.digest import canonical_json
state = AgentState(
    run=2, attempt=1, start=3, step="Running", contexts=(ContextProgress("web", "Ready", ""),),
    failure=Failure("CommandFailed", "exit code 1"), log_tail="at work", editor_serving=True,
)
print(canonical_json(state.to_json()).decode())
"""
# Reads a state from standard input as the operator does, and prints what it goes by.
READ = """
import json, sys
from guildnet.agent_api.parsing import parse_state
state = parse_state(sys.stdin.buffer.read())
print(json.dumps([*state.triple, state.step, state.editor_serving, state.failure.reason]))
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return build_release_before(tmp_path_factory.mktemp("release-before"))


def printed(version: Version, program: str, text: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=version.environment(),
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("agents_are_older", [True, False])
def test_an_agents_state_is_read_across_versions(before: Version, agents_are_older: bool) -> None:
    agent, operator = (before, THIS) if agents_are_older else (THIS, before)
    read = json.loads(printed(operator, READ, printed(agent, STATE)))
    assert read == [2, 1, 3, "Running", True, "CommandFailed"]


def test_the_programs_are_of_their_versions(before: Version) -> None:
    where = "import guildnet; print(guildnet.__file__)"
    for version in (before, THIS):
        assert Path(printed(version, where).strip()).is_relative_to(version.root)
