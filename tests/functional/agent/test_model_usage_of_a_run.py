"""A command with a model of its org: counted, limited, and without the provider's key."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.agent.conftest import wait_for

from guildnet_devcluster.scripted_model.script import Script
from guildnet_devcluster.scripted_model.server import ScriptedModel, serving

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Pod

KEY = "sk-provider-0123456789abcdef"
PRICES = {"model-one": {"input": 3, "cachedInput": 0.3, "output": 15}}
ASK = f"""{sys.executable} - <<'END'
import json, os, urllib.error, urllib.request
request = urllib.request.Request(
    os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
    json.dumps({{"model": "model-one", "messages": [{{"role": "user", "content": "x"}}]}}).encode(),
    {{"x-api-key": os.environ["ANTHROPIC_API_KEY"], "content-type": "application/json"}},
)
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()  # a client that leaves before the end cancels the provider
        print("answer", answer.status)
except urllib.error.HTTPError as error:
    print("refused", error.code, error.read().decode())
END
"""


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    script = Script("/workspace/web", "README.md", "version 2", "version 3", "true")
    with serving(ScriptedModel(script, KEY)) as running:
        yield running


@pytest.fixture
def modelled(pod: Pod, model: ScriptedModel) -> Pod:
    """A pod whose task may use the scripted model."""
    use(pod, model)
    pod.start_halves()
    return pod


def use(pod: Pod, model: ScriptedModel, *protocols: str) -> None:
    names = ["model-one", "model-two"]
    pod.use_model(
        KEY,
        protocol=list(protocols) or ["anthropic"],
        baseURL=model.base_url,
        names=names,
        prices=PRICES,
    )


def counted(usage: dict[str, Any], model: ScriptedModel) -> bool:
    served = model.total()
    return {name: usage[name] for name in served} == served


def with_budget(pod: Pod, command: str, **budget: float) -> dict[str, Any]:
    spec = pod.spec(command)
    spec["agent"]["budget"] = budget
    return spec


def test_what_a_command_used_is_counted_in_state_and_last_run(
    modelled: Pod, model: ScriptedModel
) -> None:
    state = modelled.run_to_end(modelled.spec(ASK * 3 + "echo done > work.txt"))
    assert state["outcome"] == "Succeeded", state["failure"]
    usage = state["usage"]
    assert usage["requests"] == 3
    assert counted(usage, model)
    assert usage["costUsd"] == pytest.approx((3000 * 3 + 150 * 15) / 10**6)
    assert state["lastRun"]["usage"] == usage
    assert state["logTail"].count("answer 200") == 3


def test_the_providers_key_is_not_in_the_work_container(modelled: Pod) -> None:
    """I8: it is neither in the environment nor in a file that the command can read."""
    look = "env; cat /proc/self/environ; cat $GUILDNET_JOB_DIR/* 2>/dev/null; true"
    state = modelled.run_to_end(modelled.spec(look + "; env > environment.txt"))
    assert state["outcome"] == "Succeeded"
    for folder in ("in", "out", "workspace", "work"):
        for path in (modelled.folder / folder).rglob("*"):
            if path.is_file():
                assert KEY.encode() not in path.read_bytes(), path
    assert KEY not in modelled.log("shim") + modelled.log("supervisor")
    shown = (modelled.workspace / "web" / "environment.txt").read_text()
    assert f"ANTHROPIC_BASE_URL=http://127.0.0.1:{modelled.gateway_port}" in shown
    own_key = shown.split("ANTHROPIC_API_KEY=")[1].split()[0]
    assert own_key not in modelled.log("shim"), "the log masks the gateway's key as well"


def test_the_key_of_an_earlier_start_is_refused(modelled: Pod, model: ScriptedModel) -> None:
    modelled.run_to_end(modelled.spec('printf %s "$ANTHROPIC_API_KEY" > ~/old-key'))
    again = f'ANTHROPIC_API_KEY="$(cat ~/old-key)"; export ANTHROPIC_API_KEY; {ASK}'
    state = modelled.run_to_end(modelled.spec(again), run=2)
    assert "refused 401" in state["logTail"]
    assert model.seen == []


def test_at_its_budget_a_run_ends_with_its_work_pushed(modelled: Pod, model: ScriptedModel) -> None:
    command = f"echo half > work.txt; while true; do {ASK} sleep 0.1; done"
    state = modelled.run_to_end(with_budget(modelled, command, requests=2))
    assert state["outcome"] == "Failed"
    assert state["failure"]["reason"] == "BudgetExceeded"
    assert "2 of 2 requests" in state["failure"]["message"]
    assert state["failure"]["infrastructure"] is False
    assert state["published"]["reason"] == "BranchPushed"
    assert modelled.forge.show("guildnet/acme/fix:work.txt") == "half"
    assert state["usage"]["requests"] == len(model.seen) == 2
    log = modelled.log("shim")
    assert "guildnet: 100 % of the budget of this run is used: 2 of 2 requests" in log
    assert "guildnet: the budget of this run is spent: 2 of 2 requests" in log
    assert "refused 400" in log


def test_a_command_that_ends_well_within_its_budget_succeeds(modelled: Pod) -> None:
    spec = with_budget(modelled, ASK + ASK + "echo done > work.txt", requests=2)
    state = modelled.run_to_end(spec)
    assert state["outcome"] == "Succeeded"
    assert state["usage"]["requests"] == 2


def test_usage_of_earlier_pods_of_the_run_counts(modelled: Pod, model: ScriptedModel) -> None:
    """The operator sends the usage in status, because a new pod's disk is empty."""
    amount = {"requests": 5, "inputTokens": 10, "cachedInputTokens": 0, "outputTokens": 1}
    spent = {"models": {"model-one": {**amount, "costUsd": 0.5}}}
    spec = with_budget(modelled, f"{ASK} {ASK} sleep 60", requests=6)
    start = {"run": 1, "attempt": 2, "start": 1, "spec": spec, "usage": spent}
    assert modelled.ask("POST", "/start", start).status_code == 202
    state = modelled.wait_for_step("Finished", "Stopped")
    assert state["failure"]["reason"] == "BudgetExceeded"
    assert len(model.seen) == 1
    assert state["usage"]["requests"] == 6
    assert state["usage"]["inputTokens"] == 1010


def test_a_restarted_supervisor_continues_counting(modelled: Pod, model: ScriptedModel) -> None:
    wait = "while [ ! -e ~/go ]; do sleep 0.1; done"
    modelled.start(modelled.spec(f"{ASK} {ASK} touch ~/asked; {wait}; {ASK} {ASK}"))
    wait_for("two requests", (modelled.folder / "work" / "asked").exists)
    wait_for("they are on disk", lambda: _on_disk(modelled) == 2)
    modelled.kill("supervisor")
    modelled.start_supervisor()
    (modelled.folder / "work" / "go").touch()
    state = modelled.wait_for_step("Finished", "Stopped")
    assert state["outcome"] == "Succeeded"
    assert state["usage"]["requests"] == 4
    assert counted(state["usage"], model)


def _on_disk(pod: Pod) -> int:
    path = pod.folder / "sup" / ".guildnet" / "usage.json"
    if not path.exists():
        return 0
    ledger = json.loads(path.read_bytes())["ledger"]
    return int(ledger["requests"]) if ledger["inputTokens"] == 2000 else 0


def test_usage_is_shown_while_the_command_runs(pod: Pod, model: ScriptedModel) -> None:
    pod.settings["USAGE_SECONDS"] = "1"
    use(pod, model)
    pod.start_halves()
    pod.start(pod.spec(f"{ASK} while [ ! -e ~/go ]; do sleep 0.1; done"))
    wait_for("usage in the state", lambda: (pod.state()["usage"] or {}).get("inputTokens") == 1000)
    (pod.folder / "work" / "go").touch()
    assert pod.wait_for_step("Finished")["outcome"] == "Succeeded"


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ({"preset": "codex"}, "speaks openai-responses, and the task's model anthropic"),
        ({"preset": "wizard"}, "use one of: shell, claude-code, codex, pi, gemini, opencode"),
        ({"command": ["true"], "model": {"name": "dear"}}, "use one of: model-one, model-two"),
        ({}, "runs a command, and the task gives none"),
    ],
)
def test_a_task_that_cannot_run_is_an_invalid_spec(
    modelled: Pod, agent: dict[str, Any], message: str
) -> None:
    state = modelled.run_to_end(modelled.spec("", agent=agent))
    assert state["failure"]["reason"] == "InvalidSpec"
    assert message in state["failure"]["message"]


def test_a_preset_without_a_model_is_an_invalid_spec(pod: Pod) -> None:
    pod.start_halves()
    state = pod.run_to_end(pod.spec("", agent={"preset": "pi"}))
    assert state["failure"]["reason"] == "InvalidSpec"
    assert "needs a model" in state["failure"]["message"]


FAKE_PI = f"""#!{sys.executable}
import json, os, pathlib, sys
prompt = sys.stdin.read()
folder = pathlib.Path(sys.argv[sys.argv.index("--session-dir") + 1])
with open(folder / "s_acme-fix-1.jsonl", "a") as session:
    print(json.dumps(prompt), file=session)
call = {{"toolName": "bash", "args": {{"command": "ls"}}}}
print(json.dumps({{"type": "tool_execution_start", **call}}))
reason = os.environ["FAKE_REASON"]
last = {{"stopReason": reason, "errorMessage": "429: too many"}}
print(json.dumps({{"type": "turn_end", "message": last}}))
"""


def fake_pi(pod: Pod, model: ScriptedModel, reason: str) -> None:
    folder = pod.folder / "bin"
    folder.mkdir()
    (folder / "pi").write_text(FAKE_PI)
    (folder / "pi").chmod(0o755)
    pod.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    pod.environ["FAKE_REASON"] = reason
    use(pod, model, "openai-chat")
    pod.start_halves()


def test_a_failed_agent_fails_in_spite_of_exit_code_0(pod: Pod, model: ScriptedModel) -> None:
    fake_pi(pod, model, "error")
    state = pod.run_to_end(pod.spec("", agent={"preset": "pi"}))
    assert state["exitCode"] == 0
    assert state["failure"]["reason"] == "TaskFailed"
    assert "its model endpoint failed: 429: too many" in state["failure"]["message"]
    assert "tool bash: ls" in state["logTail"]
    assert "{" not in state["logTail"], "the log is for people"


def test_the_next_start_of_a_run_continues_the_session(pod: Pod, model: ScriptedModel) -> None:
    fake_pi(pod, model, "stop")
    spec = pod.spec("", agent={"preset": "pi"})
    assert pod.run_to_end(spec)["outcome"] == "Succeeded"
    state = pod.run_to_end(spec, start=2)
    assert "continues the session of an earlier start" in state["logTail"]
    pod.run_to_end(spec, run=2)
    sessions = pod.workspace / ".guildnet" / "pi"
    first, second = (read_prompts(path) for path in sorted(sessions.glob("r*/*.jsonl")))
    assert first[0] == "Fix the thing.\nAll of it."
    assert first[1].startswith("You were interrupted")
    assert len(first) == 2
    assert second == ["Fix the thing.\nAll of it."], "another run begins anew"


def read_prompts(path: Path) -> list[str]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_image_without_the_presets_program_is_named(pod: Pod, model: ScriptedModel) -> None:
    pod.environ["PATH"] = "/usr/bin:/bin"
    use(pod, model, "openai-responses")
    pod.start_halves()
    state = pod.run_to_end(pod.spec("", agent={"preset": "codex"}))
    assert state["exitCode"] == 127
    assert "preset codex needs it in the task's image" in state["failure"]["message"]
