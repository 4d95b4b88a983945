"""`guildnet task` writes valid files, edits one field in place, and commits only that file."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from guildnet.loading import load_task
from guildnet.resources import Source, Task

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet, StateRepository

PATH = "tasks/acme/fix.yaml"


def loaded(state: StateRepository) -> Task:
    return load_task(state.read(PATH).encode(), Source(PATH))


def test_a_new_task_is_written_and_committed_alone(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.write({"notes.txt": "not to be committed"})
    answer = guildnet(
        *("task", "new", "acme/fix", "--prompt", "Fix it: now.\nTest it."),
        *("--context", "web=https://git.example/acme/web.git#main", "--secret", "forge-token"),
        *("--text", "notes=Mind the gap.", "--command", 'echo "$0"', "--pull-request"),
        *("--timeout", "30m", "--commit"),
        cwd=state.root,
    )
    assert (answer.code, answer.out) == (0, f"{PATH}\n"), answer
    spec = loaded(state).spec
    assert spec == {
        "prompt": "Fix it: now.\nTest it.",
        "context": [
            {
                "name": "web",
                "git": {
                    "url": "https://git.example/acme/web.git",
                    "ref": "main",
                    "secret": "forge-token",
                },
            },
            {"name": "notes", "text": "Mind the gap."},
        ],
        "agent": {"command": ["sh", "-c", 'echo "$0"', "{prompt}"]},
        "pullRequest": {"context": "web"},
        "timeout": "30m",
    }
    assert state.git("show", "--name-only", "--format=%s").split("\n\n") == [
        "Add task acme/fix",
        f"{PATH}\n",
    ]
    assert guildnet("validate", cwd=state.root).code == 0


def test_the_prompt_may_come_from_standard_input(
    guildnet: Guildnet, state: StateRepository
) -> None:
    text = "A long story.\n\n  - with a list\n"
    assert (
        guildnet(*("task", "new", "acme/fix", "--prompt", "-"), cwd=state.root, text=text).code == 0
    )
    assert loaded(state).spec["prompt"] == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["acme/Bad_Name", "--prompt", "x"], "'Bad_Name' is not a lower-case DNS label"),
        (["ghost/fix", "--prompt", "x"], "org ghost not found"),
        (["acme/fix", "--prompt", ""], "spec.prompt"),
        (["acme/fix", "--prompt", "x", "--timeout", "soon"], "is not a duration"),
        (["acme/fix", "--prompt", "x", "--context", "w=https://u:p@h/x"], "without user"),
        (["acme/../../etc", "--prompt", "x"], "is not ORG/TASK"),
        (["acme/fix", "--prompt", "x", "--preset", "codex"], "codex needs a model that speaks"),
        (
            ["acme/fix", "--prompt", "x", "--preset", "p", "--command", "c"],
            "--preset or --command, not both",
        ),
    ],
)
def test_an_invalid_task_is_not_written(
    guildnet: Guildnet, state: StateRepository, arguments: list[str], message: str
) -> None:
    """I9, I10."""
    answer = guildnet("task", "new", *arguments, cwd=state.root)
    assert answer.code in (1, 2)
    assert message in answer.err
    assert state.git("status", "--porcelain") == ""


def test_a_task_that_could_not_start_is_not_written(
    guildnet: Guildnet, state: StateRepository
) -> None:
    """I10: a missing command is an error when the task is written, not after the push."""
    org = "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: bare}\n"
    state.commit({"orgs/bare.yaml": org + "spec: {cluster: {kubeconfig: bare, namespace: x}}\n"})
    answer = guildnet("task", "new", "bare/fix", "--prompt", "x", cwd=state.root)
    assert answer.code == 1
    assert "tasks/bare/fix.yaml: spec.agent: no command" in answer.err
    assert "spec.agent.command in orgs/bare.yaml" in answer.err
    assert state.git("status", "--porcelain") == ""
    given = ("--prompt", "x", "--command", "true")
    assert guildnet("task", "new", "bare/fix", *given, cwd=state.root).code == 0


def test_a_cancelled_task_runs_again(guildnet: Guildnet, state: StateRepository) -> None:
    state.commit({PATH: state.task("fix")})
    guildnet("task", "cancel", "acme/fix", "--commit", cwd=state.root)
    assert guildnet("task", "rerun", "acme/fix", "--token", "2", cwd=state.root).code == 0
    assert (loaded(state).spec["cancel"], loaded(state).spec["rerun"]) == (False, "2")


def test_an_existing_task_is_not_overwritten(guildnet: Guildnet, state: StateRepository) -> None:
    state.commit({PATH: state.task("fix")})
    answer = guildnet("task", "new", "acme/fix", "--prompt", "Other.", cwd=state.root)
    assert answer.code == 1
    assert "already exists" in answer.err
    assert state.read(PATH) == state.task("fix")


@pytest.mark.parametrize(
    ("verb", "key", "value"),
    [("cancel", "cancel", True), ("suspend", "suspend", True)],
)
def test_one_field_is_set_and_the_rest_kept(
    guildnet: Guildnet, state: StateRepository, verb: str, key: str, value: object
) -> None:
    state.commit({PATH: state.task("fix")})
    before = loaded(state)
    assert guildnet("task", verb, "acme/fix", "--commit", cwd=state.root).code == 0
    after = loaded(state)
    assert after.spec == {**before.spec, key: value}
    assert after.run_digest == before.run_digest
    kept = [line for line in state.read(PATH).splitlines() if not line.startswith(f"  {key}:")]
    assert kept == state.task("fix").splitlines()
    assert state.git("status", "--porcelain") == ""


def test_each_rerun_starts_another_run(guildnet: Guildnet, state: StateRepository) -> None:
    state.commit({PATH: state.task("fix")})
    digests = {loaded(state).run_digest}
    for _ in range(2):
        assert guildnet("task", "rerun", "acme/fix", cwd=state.root).code == 0
        digests.add(loaded(state).run_digest)
    assert len(digests) == 3
    assert state.read(PATH).count("rerun:") == 1
    assert "# in earnest" in state.read(PATH)


def test_suspend_and_resume(guildnet: Guildnet, state: StateRepository) -> None:
    state.commit({PATH: state.task("fix")})
    assert guildnet("task", "resume", "acme/fix", cwd=state.root).err == (f"{PATH} unchanged\n")
    assert state.read(PATH) == state.task("fix")
    guildnet("task", "suspend", "acme/fix", cwd=state.root)
    assert loaded(state).spec["suspend"] is True
    guildnet("task", "resume", "acme/fix", cwd=state.root)
    assert loaded(state).spec["suspend"] is False


def test_an_invalid_file_is_not_edited(guildnet: Guildnet, state: StateRepository) -> None:
    state.write({PATH: "spec: {prompt: [}\n"})
    answer = guildnet("task", "cancel", "acme/fix", cwd=state.root)
    assert answer.code == 1
    assert f"{PATH}:1" in answer.err
    assert state.read(PATH) == "spec: {prompt: [}\n"


def test_push_reaches_the_remote_and_a_refusal_is_an_error(
    guildnet: Guildnet, state: StateRepository
) -> None:
    remote = state.root.parent / "remote.git"
    state.git("init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    state.git("remote", "add", "origin", str(remote))
    state.git("push", "--quiet", "--set-upstream", "origin", "main")
    pushed = guildnet("task", "new", "acme/fix", "--prompt", "x", "--push", cwd=state.root)
    assert pushed.code == 0
    shown = subprocess.check_output(["git", "-C", str(remote), "show", f"main:{PATH}"], text=True)
    assert shown == state.read(PATH)
    hook = remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    refused = guildnet("task", "cancel", "acme/fix", "--push", cwd=state.root)
    assert refused.code == 1
    assert "protected" in refused.err
    assert "The commit exists" in refused.err
