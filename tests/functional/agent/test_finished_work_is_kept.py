"""Finished work ends on a branch of the remote, or the condition says where it lies; the command
never runs again for what happened after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.agent.conftest import git, wait_for

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, NextRun, Pod


@pytest.fixture
def hook(run: NextRun) -> Iterator[Path]:
    """A pre-receive hook of the remote, removed after the test."""
    path = run.pod.forge.repository() / "hooks" / "pre-receive"
    path.parent.mkdir(exist_ok=True)
    yield path
    path.unlink(missing_ok=True)


def write_hook(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def refuse(branches: str, words: str = "") -> str:
    say = f"echo '{words}' >&2;" if words else ""
    return f'while read old new ref; do case "$ref" in {branches}) {say} exit 1;; esac; done'


def counted(run: NextRun, command: str) -> str:
    return f'echo ran >> "$GUILDNET_WORKSPACE/count-{run.number}"; {command}'


def times_run(run: NextRun) -> int:
    return len((run.pod.workspace / f"count-{run.number}").read_text().splitlines())


def moved_while_running(run: NextRun, branch: str, **fields: Any) -> dict[str, Any]:
    """Run a command during which another person pushes to the branch; the final state."""
    pod, gate = run.pod, run.pod.folder / f"gate-{run.number}"
    command = f"echo b > b-{run.number}.txt; until [ -e {gate} ]; do sleep 0.05; done"
    pod.start(pod.spec(command, **fields), run=run.number)
    pod.wait_for_step("Running")
    made = pod.workspace / "web" / f"b-{run.number}.txt"
    wait_for("the command runs", made.exists)
    start = "main" if pod.forge.tip(branch) is None else branch
    pod.forge.commit(f"human-{run.number}.txt", branch, f"origin/{start}")
    gate.touch()
    return pod.wait_for_step("Finished", "Stopped")


def test_work_goes_to_the_own_branch_if_the_pull_requests_branch_moved(run: NextRun) -> None:
    forge = run.pod.forge
    first = run.to_end(run.pod.spec("echo a > a.txt"))["branch"]
    run.take()
    state = moved_while_running(run, first, continues=first)
    assert state["outcome"] == "Succeeded", state
    assert state["branch"] == run.branch != first
    assert forge.show(f"{run.branch}:b-{run.number}.txt") == "b"
    assert forge.show(f"{first}:human-{run.number}.txt").startswith("human")
    assert first in state["published"]["message"]
    assert run.branch in state["published"]["message"]
    assert state["pullRequest"]["branch"] == run.branch


def test_work_goes_to_a_unique_branch_if_the_runs_branch_moved(run: NextRun) -> None:
    state = moved_while_running(run, run.branch)
    assert state["outcome"] == "Succeeded", state
    assert state["branch"] == f"{run.branch}.{state['commit'][:10]}"
    assert run.pod.forge.show(f"{state['branch']}:b-{run.number}.txt") == "b"
    assert state["branch"] in state["published"]["message"]


def test_a_conflicting_branch_name_is_reported_and_the_work_kept(pod: Pod, forge: Forge) -> None:
    """git cannot have both branches guildnet/acme/fix and guildnet/acme."""
    git(forge.root / "seed", "push", "-q", "origin", "HEAD:refs/heads/guildnet/acme")
    pod.start_halves()
    state = pod.run_to_end(pod.spec("echo a > a.txt"))
    assert state["failure"]["reason"] == "PushRejected"
    assert "rename or delete that one" in state["failure"]["message"]
    assert "beside the branch guildnet/acme:" in state["failure"]["message"]
    assert "the work is on branch guildnet-wip/acme/fix.r1" in state["published"]["message"]
    assert forge.show("guildnet-wip/acme/fix.r1:a.txt") == "a"


def test_work_refused_by_a_protected_branch_is_kept(run: NextRun, hook: Path) -> None:
    write_hook(hook, refuse("refs/heads/guildnet/*", "GH013: Repository rule violations found"))
    state = run.to_end(run.pod.spec(counted(run, "echo a > a.txt")))
    assert state["failure"]["reason"] == "PushRejected"
    assert state["failure"]["infrastructure"] is False
    assert "GH013: Repository rule violations" in state["failure"]["message"]
    assert "the server's message says" in state["failure"]["message"]
    wip = f"guildnet-wip/acme/fix.r{run.number}"
    assert f"the work is on branch {wip}" in state["published"]["message"]
    assert run.pod.forge.show(f"{wip}:a.txt") == "a"
    assert times_run(run) == 1


def test_work_that_cannot_be_pushed_stays_in_the_workspace(run: NextRun, hook: Path) -> None:
    write_hook(hook, refuse("*"))
    state = run.to_end(run.pod.spec(counted(run, "echo a > a.txt")))
    assert state["failure"]["reason"] == "PushRejected"
    assert "the work is in the workspace, folder web" in state["published"]["message"]
    assert (run.pod.workspace / "web" / "a.txt").read_text() == "a\n"
    assert times_run(run) == 1


def test_a_refused_pull_request_names_the_branch_of_the_work(run: NextRun) -> None:
    run.pod.forge.fault = lambda method, path: (
        "422" if method == "POST" and path.endswith("/pulls") else None
    )
    try:
        state = run.to_end(run.pod.spec(counted(run, "echo a > a.txt")))
    finally:
        run.pod.forge.fault = lambda method, path: None
    assert state["failure"]["reason"] == "ForgeRefused"
    assert f"the work is on branch {run.branch}" in state["failure"]["message"]
    assert run.pod.forge.show(f"{run.branch}:a.txt") == "a"
    assert times_run(run) == 1


def test_work_is_pushed_although_the_token_may_not_use_the_api(run: NextRun) -> None:
    """The branch is pushed before the forge gets a request."""
    run.pod.forge.fault = lambda method, path: "403" if "/pulls" in path else None
    try:
        state = run.to_end(run.pod.spec("echo a > a.txt"))
    finally:
        run.pod.forge.fault = lambda method, path: None
    assert state["failure"]["reason"] == "ForgeRefused"
    assert f"the work is on branch {run.branch}" in state["failure"]["message"]
    assert run.pod.forge.show(f"{run.branch}:a.txt") == "a"


def test_a_deleted_base_is_replaced_by_the_default_branch(run: NextRun) -> None:
    forge, pod = run.pod.forge, run.pod
    forge.commit("old.txt", "release", "origin/main")
    context = [
        {"name": "web", "git": {"url": forge.url(), "secret": "forge", "ref": "release"}},
    ]
    command = f"echo a > a.txt; git -C {forge.repository()} update-ref -d refs/heads/release"
    state = pod.run_to_end(
        pod.spec(command, context=context, pullRequest={"context": "web"}), run=run.number
    )
    assert state["outcome"] == "Succeeded", state
    assert state["pullRequest"]["base"] == "main"
    assert "branch release was deleted" in state["published"]["message"]


@pytest.mark.parametrize("name", ["last_pr.json", "last_run.json", "journal"])
def test_work_is_published_although_a_file_cannot_be_written(pod: Pod, name: str) -> None:
    """A folder in a file's place simulates a full disk, which would not stop root."""
    pod.start_halves()
    journal = pod.folder / "sup" / ".guildnet" / "journal.jsonl"
    gate = pod.folder / "gate"
    count = pod.workspace / "count"
    command = f"echo a > a.txt; echo ran >> {count}; until [ -e {gate} ]; do sleep 0.05; done"
    pod.start(pod.spec(command))
    pod.wait_for_step("Running")
    wait_for("the command runs", count.exists)
    if name == "journal":
        journal.rename(journal.with_name("kept"))
        journal.mkdir()
    else:
        (pod.folder / "sup" / ".guildnet" / "state" / name).mkdir()
    gate.touch()
    state = pod.wait_for_step("Finished", "Stopped")
    assert state["outcome"] == "Succeeded", state
    assert state["published"]["reason"] == "PullRequestOpened"
    assert state["pullRequest"]["number"] == 1
    assert state["lastRun"]["exitCode"] == 0


def test_a_title_with_lone_surrogates_is_cleaned(pod: Pod, forge: Forge) -> None:
    """A forge may answer with a lone surrogate, which UTF-8 cannot encode."""
    pod.start_halves()
    pod.run_to_end(pod.spec("echo a > a.txt; exit 1"))
    forge.pulls.append(
        {
            "number": 7,
            "html_url": f"http://{forge.host}/acme/web/pulls/7",
            "state": "open",
            "merged": False,
            "title": "half \ud800 a pair",
            "body": "",
            "created_at": "2026-01-02T03:04:05Z",
            "head": {
                "label": "guildnet/acme/fix",
                "ref": "guildnet/acme/fix",
                "sha": "a" * 40,
                "repo_id": 1,
            },
            "base": {"label": "main", "ref": "main", "sha": "", "repo_id": 1},
        }
    )
    state = pod.run_to_end(pod.spec("echo b > b.txt"), attempt=2)
    assert state["outcome"] == "Succeeded", state
    assert state["pullRequest"]["title"] == "half \ufffd a pair"


def test_a_repository_that_cannot_be_bundled_ends_the_run_once(pod: Pod) -> None:
    """I10: the files stay in the workspace; the command does not run again."""
    pod.start_halves()
    state = pod.run_to_end(pod.spec("echo a > a.txt; rm -rf .git/objects"))
    assert state["failure"]["reason"] == "PushRejected", state
    assert state["failure"]["infrastructure"] is False
    assert "its work cannot be handed over" in state["failure"]["message"]
    assert "the work is in the workspace" in state["published"]["message"]
    assert (pod.workspace / "web" / "a.txt").read_text() == "a\n"


def test_a_branch_that_was_deleted_and_recreated_is_not_overwritten(run: NextRun) -> None:
    pod, forge = run.pod, run.pod.forge
    first = run.to_end(pod.spec("echo a > a.txt; exit 1"))
    assert first["branch"] == run.branch
    gate = pod.folder / f"gate-{run.number}"
    command = f"echo b > b.txt; touch {gate}.begun; until [ -e {gate} ]; do sleep 0.05; done"
    pod.start(pod.spec(command), run=run.number, attempt=2)
    wait_for("the command runs", gate.with_name(f"{gate.name}.begun").exists)
    git(forge.repository(), "update-ref", "-d", f"refs/heads/{run.branch}")
    theirs = forge.commit("theirs.txt", run.branch, "origin/main")
    gate.touch()
    state = pod.wait_for_step("Finished", "Stopped")
    assert state["outcome"] == "Succeeded", state
    assert forge.tip(run.branch) == theirs
    assert forge.show(f"{state['branch']}:b.txt") == "b"
    assert forge.show(f"{state['branch']}:a.txt") == "a"
