"""`guildnet status` and `guildnet logs` read the status branch, as text and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from guildnet import record
from guildnet.digest import readable_json

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet, StateRepository

DONE = record.TaskRecord(
    org="acme",
    task="done",
    run=2,
    digest="sha256:1",
    result="TaskSucceeded",
    phase="Succeeded",
    attempt=1,
    branch="guildnet/acme/done.r2",
    pull_request={"url": "https://git.example/acme/web/pulls/7"},
    conditions=(
        {"type": "Ready", "status": "False", "reason": "TaskSucceeded", "message": "all done"},
    ),
    artifacts=({"name": "last_pr.json", "bytes": 12, "sha256": "ab" * 32},),
    editor={"port": 8443, "mesh": {"name": "done-acme", "addresses": ["100.64.0.7", "fd7a::7"]}},
    usage={"requests": 4, "inputTokens": 4600, "outputTokens": 206, "costUsd": 0.01689},
    history=(
        {
            "run": 1,
            "result": "TaskFailed",
            "finishedAt": "2026-01-01T00:00:00Z",
            "usage": {"requests": 7, "inputTokens": 9, "outputTokens": 2},
        },
    ),
)
FAILED = record.TaskRecord(
    org="acme",
    task="failed",
    run=1,
    digest="sha256:2",
    result="TaskFailed",
    message="exit \x1b[31m code 3",
)
ACME = record.OrgRecord(org="acme", applied="1" * 40, counts={"tasks": 2})
GLOBEX = record.OrgRecord(
    org="globex",
    cluster={"reachable": False, "message": "no answer", "cure": "start it"},
    quarantined=({"path": "tasks/globex/x.yaml", "line": 4, "message": "unknown field 'a'"},),
    held=({"task": "y", "reason": "DeletionBudget", "message": "Approve-Deletions: globex"},),
)


@pytest.fixture
def reported(state: StateRepository) -> StateRepository:
    """The state repository with a status branch."""
    state.git("checkout", "--quiet", "--orphan", "status")
    state.git("rm", "-rfq", ".")
    report(state, DONE, FAILED, ACME, GLOBEX)
    state.git("checkout", "--quiet", "main")
    return state


def report(state: StateRepository, *records: record.TaskRecord | record.OrgRecord) -> None:
    files = {
        record.org_record_path(r.org)
        if isinstance(r, record.OrgRecord)
        else record.task_record_path(r.org, r.task): readable_json(r.to_json()).decode()
        for r in records
    }
    state.commit(
        {**files, "orgs/acme/tasks/done/artifacts/log_tail.txt": "the last words\n"}, "status"
    )


def test_the_overview_shows_orgs_tasks_and_faults(
    guildnet: Guildnet, reported: StateRepository
) -> None:
    """I10: quarantined files, held changes and unreachable clusters are in the overview."""
    answer = guildnet("status", cwd=reported.root)
    assert answer.code == 1
    assert "acme: 2 tasks; applied 111111111111" in answer.out
    assert "cluster unreachable: no answer (start it)" in answer.out
    assert "quarantined tasks/globex/x.yaml:4: unknown field 'a'" in answer.out
    assert "held y: DeletionBudget Approve-Deletions: globex" in answer.out
    rows = [line.split() for line in answer.out.splitlines() if line.startswith("acme/")]
    assert rows[0] == [
        *("acme/done", "2", "Succeeded", "TaskSucceeded"),
        "https://git.example/acme/web/pulls/7",
    ]
    assert rows[1][:4] == ["acme/failed", "1", "-", "TaskFailed"]


def test_machines_that_are_not_as_git_says_are_shown(
    guildnet: Guildnet, reported: StateRepository
) -> None:
    machines: list[dict[str, Any]] = [
        {"address": "10.0.0.2", "role": "controlplane", "state": "inSync"},
        {
            "address": "10.0.0.3",
            "role": "worker",
            "state": "drifted",
            "changedLines": 1,
            "diff": ["@@", "     nodeLabels:", "-        by: \x1b***"],
            "message": "not applied",
        },
    ]

    def status(section: dict[str, Any]) -> Any:
        reported.git("checkout", "--quiet", "status")
        report(reported, replace(ACME, talos=section))
        reported.git("checkout", "--quiet", "main")
        return guildnet("status", "acme", cwd=reported.root)

    answer = status({"reconcile": "report", "machines": machines})
    assert answer.code == 1
    assert "Talos machines: 1 of 2 as git says" in answer.out
    assert "machine 10.0.0.3: drifted, 1 changed line: not applied" in answer.out
    assert "       nodeLabels:\n      -        by:  ***" in answer.out
    answer = status({"reconcile": "report", "machines": machines[:1]})
    assert (answer.code, "1 of 1 as git says" in answer.out) == (0, True)
    problem = {"message": "talosctl is not on PATH", "cure": "install it"}
    answer = status({"reconcile": "report", "problem": problem})
    assert answer.code == 1
    assert "cannot be compared: talosctl is not on PATH (install it)" in answer.out


def test_text_from_agents_cannot_control_the_terminal(
    guildnet: Guildnet, reported: StateRepository
) -> None:
    answer = guildnet("status", "acme/failed", cwd=reported.root)
    assert "code 3" in answer.out
    assert "\x1b" not in answer.out


def test_exit_codes_of_healthy_and_failed_orgs_and_tasks(
    guildnet: Guildnet, reported: StateRepository
) -> None:
    assert guildnet("status", "acme", cwd=reported.root).code == 0
    assert guildnet("status", "acme/done", cwd=reported.root).code == 0
    assert guildnet("status", "acme/failed", cwd=reported.root).code == 1


def test_one_task_shows_all_fields(guildnet: Guildnet, reported: StateRepository) -> None:
    out = guildnet("status", "acme/done", cwd=reported.root).out
    for text in (
        *("run 2, attempt 1: TaskSucceeded", "https://git.example/acme/web/pulls/7"),
        *("guildnet/acme/done.r2", "all done", "last_pr.json", "TaskFailed"),
        "4 requests, 4,600 input tokens, 206 output tokens, 0.0169 USD",
        "done-acme (100.64.0.7, fd7a::7)",
        "7 requests, 9 input tokens",
    ):
        assert text in out


def test_json_output_is_the_record(guildnet: Guildnet, reported: StateRepository) -> None:
    printed = json.loads(guildnet("status", "acme/done", "-o", "json", cwd=reported.root).out)
    assert printed == json.loads(json.dumps(DONE.to_json()))
    whole = yaml.safe_load(guildnet("status", "-o", "yaml", cwd=reported.root).out)
    assert [t["task"] for t in whole["tasks"]] == ["done", "failed"]
    assert set(whole["orgs"]) == {"acme", "globex"}


@pytest.mark.parametrize("what", ["nobody", "acme/nothing"])
def test_a_name_without_a_record_is_an_error(
    guildnet: Guildnet, reported: StateRepository, what: str
) -> None:
    answer = guildnet("status", what, cwd=reported.root)
    assert answer.code == 1
    assert f"no record of {'' if '/' in what else 'org '}{what}" in answer.err


def test_a_task_without_a_record_is_an_error_with_the_reason(
    guildnet: Guildnet, reported: StateRepository
) -> None:
    """I10: the reason why a task does not start is shown for the task itself too."""
    answer = guildnet("status", "globex/x", cwd=reported.root)
    assert answer.code == 1
    assert "quarantined: unknown field 'a'" in answer.err
    assert "no answer (start it)" in answer.err


def test_without_a_status_branch_the_error_says_what_to_do(
    guildnet: Guildnet, state: StateRepository
) -> None:
    """I10."""
    answer = guildnet("status", cwd=state.root)
    assert answer.code == 1
    assert "branch status does not exist: no reconciler has run" in answer.err
    assert "guildnet reconciler --repo" in answer.err


def test_a_checkout_reads_its_origin_and_a_folder_itself(
    guildnet: Guildnet, reported: StateRepository, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(reported.root), str(clone)], check=True)
    assert "acme/done" in guildnet("status", "acme", cwd=clone).out
    assert "acme/done" in guildnet("status", "acme", "--repo", str(reported.root)).out


def test_an_unreachable_remote_is_an_error(guildnet: Guildnet, state: StateRepository) -> None:
    """I10; I1: an unreachable remote does not mean that no branch exists."""
    state.git("remote", "add", "origin", str(state.root.parent / "gone.git"))
    answer = guildnet("status", cwd=state.root)
    assert answer.code == 1
    assert "gone.git" in answer.err
    assert "no reconciler has run" not in answer.err


def test_an_unreadable_record_hides_no_other(guildnet: Guildnet, reported: StateRepository) -> None:
    reported.git("checkout", "--quiet", "status")
    reported.commit({"orgs/acme/tasks/done/status.json": "{"}, "broken")
    reported.git("checkout", "--quiet", "main")
    answer = guildnet("status", "acme", cwd=reported.root)
    assert answer.code == 1
    assert "orgs/acme/tasks/done/status.json: not a record" in answer.out
    assert "acme/failed" in answer.out


def test_watching_shows_each_change(reported: StateRepository) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "guildnet_cli.main", "status", "acme/done"),
            *("--watch", "--interval", "0.5", "--repo", str(reported.root)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as watching:
        assert watching.stdout is not None
        assert "run 2" in watching.stdout.readline()
        reported.git("checkout", "--quiet", "status")
        changed: dict[str, Any] = {**DONE.to_json(), "run": 3}
        path = record.task_record_path("acme", "done")
        reported.commit({path: json.dumps(changed)}, "status")
        for line in watching.stdout:
            if line.startswith("acme/done"):
                assert "run 3" in line
                break
        # Not SIGINT, which a process in the background may ignore.
        watching.terminate()


def test_watching_waits_for_a_record_that_does_not_exist_yet(
    reported: StateRepository, tmp_path: Path
) -> None:
    """A user may watch a task right after the push."""
    said = tmp_path / "said"
    with (
        said.open("w") as errors,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "guildnet_cli.main", "status", "acme/late"),
                *("--watch", "--interval", "0.5", "--repo", str(reported.root)),
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as watching,
    ):
        try:
            deadline = time.monotonic() + 60
            while "waiting" not in said.read_text():
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.05)
            assert "no record of acme/late" in said.read_text()
            reported.git("checkout", "--quiet", "status")
            report(reported, replace(DONE, task="late"))
            assert watching.stdout is not None
            assert "acme/late  run 2" in watching.stdout.readline()
        finally:
            watching.terminate()


def test_the_recorded_log_is_printed_with_a_notice(
    guildnet: Guildnet, reported: StateRepository
) -> None:
    """When the cluster cannot be reached, the status branch has the end of the log."""
    answer = guildnet("logs", "acme/done", cwd=reported.root)
    assert (answer.code, answer.out) == (0, "the last words\n")
    assert "no kubeconfig for org acme" in answer.err
    assert "end of the log, from the status branch:" in answer.err
    answer = guildnet("logs", "acme/failed", cwd=reported.root)
    assert answer.code == 1
    assert "the status branch has no log of it" in answer.err


def test_without_access_to_the_cluster_the_editors_peer_is_that_of_the_status_branch(
    guildnet: Guildnet, reported: StateRepository, tmp_path: Path
) -> None:
    """The person's machine has no tailscaled, which is the next thing that is missing."""
    socket = ("--mesh-socket", str(tmp_path / "no.sock"))
    found = guildnet("editor", "acme/done", "--mesh", *socket, cwd=reported.root)
    without = guildnet("editor", "acme/failed", "--mesh", *socket, cwd=reported.root)
    direct = guildnet("editor", "acme/done", cwd=reported.root)
    assert (found.code, without.code, direct.code) == (1, 1, 1)
    assert "the peer is that of the status branch" in " ".join(found.err.split())
    assert "no tailscaled answers" in found.err
    assert "the agent has no peer on a mesh" in without.err
    assert "no kubeconfig for org acme" in direct.err
