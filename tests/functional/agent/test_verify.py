"""`verify` runs after the agent: its failure is handed back, and fails the attempt in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.agent.conftest import wait_for

from guildnet.agent_api.state import StartId
from guildnet_agent.job import Job, JobModel
from guildnet_agent.settings import read_settings
from guildnet_agent.shim.agent_start import plan_start

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.agent.conftest import Forge, Pod

CHECK = ["sh", "-c", "echo looking; grep -q right README.md || { echo it is wrong; exit 7; }"]


def task(pod: Pod, command: str, **verify: Any) -> dict[str, Any]:
    return pod.spec(command, verify={"command": CHECK, **verify})


@pytest.fixture
def ready(pod: Pod) -> Pod:
    pod.start_halves()
    return pod


def test_work_that_passes_is_published(ready: Pod, forge: Forge) -> None:
    state = ready.run_to_end(task(ready, "echo right > README.md; echo once >> runs"))
    assert state["outcome"] == "Succeeded", state
    assert forge.show("guildnet/acme/fix:runs") == "once"
    assert "looking" in ready.ask("GET", "/logs?tail=65536").text


def test_a_failure_is_handed_back_with_its_output(ready: Pod, forge: Forge) -> None:
    """One round by default; the command sees in its prompt what failed."""
    command = (
        "echo run >> runs; cp $GUILDNET_PROMPT_FILE prompt.txt;"
        'case "$GUILDNET_PROMPT" in *"it is wrong"*) echo right > README.md;; esac'
    )
    state = ready.run_to_end(task(ready, command))
    assert state["outcome"] == "Succeeded", state
    assert forge.show("guildnet/acme/fix:runs") == "run\nrun"
    prompt = forge.show("guildnet/acme/fix:prompt.txt")
    assert prompt.startswith("Fix the thing.")
    assert "failed with exit code 7" in prompt
    assert "it is wrong" in prompt


@pytest.mark.parametrize("rounds", [0, 2])
def test_an_attempt_fails_once_its_rounds_are_used_up(
    ready: Pod, forge: Forge, rounds: int
) -> None:
    state = ready.run_to_end(task(ready, "echo run >> runs", rounds=rounds))
    assert (state["outcome"], state["failure"]["reason"]) == ("Failed", "TaskFailed")
    assert state["failure"]["infrastructure"] is False
    message = state["failure"]["message"]
    assert "the work does not pass verify" in message
    assert "failed with exit code 7" in message
    assert "it is wrong" in message
    assert state["published"]["reason"] == "BranchPushed"
    assert forge.show("guildnet/acme/fix:runs").count("run") == rounds + 1


def test_a_command_that_fails_is_not_verified(ready: Pod) -> None:
    state = ready.run_to_end(task(ready, "exit 3"))
    assert "exit code 3" in state["failure"]["message"]
    assert "looking" not in state["logTail"]


def test_a_verify_command_that_is_missing_fails_the_attempt(ready: Pod) -> None:
    verify = {"command": ["no-such-program"], "rounds": 0}
    state = ready.run_to_end(ready.spec("true", verify=verify))
    assert "cannot run no-such-program" in state["failure"]["message"]


def test_a_stop_ends_the_verification(ready: Pod) -> None:
    verify = {"command": ["sh", "-c", "echo started; sleep 600"]}
    ready.start(ready.spec("echo x > x", verify=verify))
    ready.wait_for_step("Running")
    wait_for("verify", lambda: "started" in ready.ask("GET", "/logs?tail=65536").text)
    answer = ready.ask("POST", "/stop", {"reason": "Cancelled"})
    assert answer.status_code < 300
    assert ready.wait_for_step("Stopped")["published"]["reason"] == "BranchPushed"


def test_an_agent_with_a_session_is_given_the_failure_alone(tmp_path: Path) -> None:
    settings = read_settings({"HOME": str(tmp_path), "GUILDNET_WORKSPACE": str(tmp_path / "w")})
    model = JobModel(("anthropic",), "http://127.0.0.1:8486", "m", "gn-key")
    job = Job(
        StartId(1, 1, 1), (), "the task", (), None, "acme/fix/1", "a", "a@b",
        preset="claude-code", model=model,
    )  # fmt: skip
    prompt_file = tmp_path / "prompt"
    first = plan_start(job, settings, prompt_file)
    assert not first.resumes
    session = settings.workspace / ".guildnet/claude-code/r1/projects/web/s.jsonl"
    session.parent.mkdir(parents=True)
    session.write_text("{}")
    again = plan_start(job, settings, prompt_file, "make test failed")
    assert again.resumes
    assert again.invocation.stdin is not None
    assert again.invocation.stdin.read_text() == "make test failed"
