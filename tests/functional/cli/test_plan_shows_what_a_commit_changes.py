"""`guildnet plan`: what a commit would create, change, delete and hold, without a cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from guildnet.schema import plan_schema

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet, StateRepository


def test_creations_changes_and_deletions_are_listed(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.commit({f"tasks/acme/{n}.yaml": state.task(n) for n in ("one", "two", "three")})
    state.commit(
        {
            "tasks/acme/one.yaml": state.task("one", "Do it better."),
            "tasks/acme/two.yaml": None,
            "tasks/acme/four.yaml": state.task("four", "Something else."),
        }
    )
    answer = guildnet("plan", cwd=state.root)
    assert answer.code == 0, answer
    lines = answer.out.splitlines()
    assert lines[0] == "acme"
    assert lines[lines.index("  ~ update one  (NewRun)") + 1] == (
        "      spec.prompt: Do it. -> Do it better."
    )
    assert any(line.startswith("  - delete two") for line in lines)
    assert any(line.startswith("  + create four") for line in lines)
    assert lines[-1] == "Plan: 1 to create, 1 to change, 1 to delete."


def test_the_plan_as_json_and_yaml(guildnet: Guildnet, state: StateRepository) -> None:
    state.commit({"tasks/acme/one.yaml": state.task("one")})
    printed = json.loads(guildnet("plan", "-o", "json", cwd=state.root).out)
    assert printed == yaml.safe_load(guildnet("plan", "-o", "yaml", cwd=state.root).out)
    assert (printed["from"], printed["to"]) == ("HEAD~1", "HEAD")
    assert [(c["org"], c["task"], c["action"]) for c in printed["changes"]] == [
        ("acme", "one", "create")
    ]


def test_a_mass_deletion_would_be_held_until_approved(
    guildnet: Guildnet, state: StateRepository
) -> None:
    """I1: the plan shows what the guard will hold, and what releases it."""
    names = [f"t{number:02}" for number in range(20)]
    state.commit({f"tasks/acme/{n}.yaml": state.task(n, f"Do {n}.") for n in names})
    state.commit({f"tasks/acme/{n}.yaml": None for n in names[:10]}, "Clean up")
    answer = guildnet("plan", cwd=state.root)
    assert answer.code == 1
    assert "10 to delete, 10 held" in answer.out
    assert "Approve-Deletions: acme" in answer.out
    state.git("commit", "--amend", "--quiet", "--message", "Clean up\n\nApprove-Deletions: acme")
    answer = guildnet("plan", cwd=state.root)
    assert answer.code == 0
    assert "held" not in answer.out


def test_an_invalid_file_would_be_quarantined(guildnet: Guildnet, state: StateRepository) -> None:
    state.commit({"tasks/acme/one.yaml": state.task("one")})
    state.commit({"tasks/acme/one.yaml": "prompt: [", "tasks/acme/two.yaml": state.task("two")})
    answer = guildnet("plan", cwd=state.root)
    assert answer.code == 1
    assert "! quarantine one" in answer.out
    assert "(tasks/acme/one.yaml:" in answer.out
    assert "+ create two" in answer.out
    assert "delete" not in answer.out


def test_the_deletion_of_an_invalid_file_is_listed(
    guildnet: Guildnet, state: StateRepository
) -> None:
    """Its last valid version is running, and would be deleted."""
    state.commit({"tasks/acme/one.yaml": "prompt: ["})
    state.commit({"tasks/acme/one.yaml": None})
    assert "  - delete one  (Removed" in guildnet("plan", cwd=state.root).out


def test_an_unrelated_commit_changes_nothing(guildnet: Guildnet, state: StateRepository) -> None:
    state.commit({"README.md": "hello\n"})
    answer = guildnet("plan", cwd=state.root)
    assert (answer.code, answer.out) == (0, "Plan: nothing to do.\n")


def test_a_branch_is_compared_with_origin(guildnet: Guildnet, state: StateRepository) -> None:
    remote = state.root.parent / "remote.git"
    state.git("init", "--quiet", "--bare", str(remote))
    state.git("remote", "add", "origin", str(remote))
    state.git("push", "--quiet", "--set-upstream", "origin", "main")
    state.commit({"tasks/acme/one.yaml": state.task("one")})
    state.commit({"tasks/acme/two.yaml": state.task("two", "Else.")})
    assert "Plan: 2 to create." in guildnet("plan", cwd=state.root).out


def test_an_unknown_revision_is_an_error(guildnet: Guildnet, state: StateRepository) -> None:
    answer = guildnet("plan", "--from", "nowhere", cwd=state.root)
    assert answer.code == 1
    assert "nowhere" in answer.err


def test_a_request_above_the_limit_is_a_problem(guildnet: Guildnet, state: StateRepository) -> None:
    """No API server would accept it; `validate` and `plan` report it first."""
    limits = "    resources: {limits: {memory: 1Gi}}\n"
    big = state.task("big") + "  agent: {resources: {requests: {memory: 2Gi}}}\n"
    state.commit({"orgs/acme.yaml": state.read("orgs/acme.yaml") + limits})
    state.commit({"tasks/acme/big.yaml": big})
    for verb in ("validate", "plan"):
        answer = guildnet(verb, cwd=state.root)
        assert answer.code == 1
        assert "the request of 2Gi memory is above the limit of 1Gi" in answer.out
    assert "1 quarantined" in answer.out


def test_a_squashed_pull_request_is_approved_as_its_commits_were(
    guildnet: Guildnet, state: StateRepository
) -> None:
    names = [f"t{number:02}" for number in range(10)]
    state.commit({f"tasks/acme/{n}.yaml": state.task(n) for n in names})
    state.commit(
        {f"tasks/acme/{n}.yaml": None for n in names},
        "Clean up (#12)\n\n* Remove them\n\nApprove-Deletions: acme\n\n* Explain\n\n---------\n\n"
        "Co-authored-by: B <b@example.com>",
    )
    assert guildnet("plan", cwd=state.root).code == 0


def test_an_approval_beside_another_orgs_files_does_not_count(
    guildnet: Guildnet, state: StateRepository
) -> None:
    names = [f"t{number:02}" for number in range(10)]
    state.commit({f"tasks/acme/{n}.yaml": state.task(n) for n in names})
    state.commit({f"tasks/acme/{n}.yaml": None for n in names})
    state.commit({"README.md": "x"}, "Clean up\n\nApprove-Deletions: acme")
    answer = guildnet("plan", "--from", "HEAD~2", cwd=state.root)
    assert answer.code == 1
    assert "10 held" in answer.out


def test_a_file_renamed_out_of_reach_is_reported_beside_its_deletion(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.commit({f"tasks/acme/{n}.yaml": state.task(n) for n in ("one", "two")})
    state.git("mv", "tasks/acme/one.yaml", "tasks/acme/one.yml")
    state.git("mv", "tasks/acme/two.yaml", "tasks/acme/Two.yaml")
    state.commit({"tasks/notes.txt": "x"})
    answer = guildnet("plan", cwd=state.root)
    assert answer.code == 1
    assert "! misplaced one.yml  (tasks/acme/one.yml: expected" in answer.out
    assert "! misplaced Two.yaml  (tasks/acme/Two.yaml: 'Two' is not" in answer.out
    assert "files without an org\n  ! misplaced notes.txt" in answer.out
    assert "2 to delete, 3 misplaced" in answer.out
    assert "2 to delete, 3 misplaced" in guildnet("plan", "-o", "markdown", cwd=state.root).out


def test_a_shallow_clone_without_the_parent_is_an_error(
    guildnet: Guildnet, state: StateRepository
) -> None:
    """I1: every task would look new, and a deletion would be missing."""
    state.commit({"tasks/acme/one.yaml": state.task("one")})
    clone = state.root.parent / "clone"
    state.git("clone", "--quiet", "--depth=1", state.root.as_uri(), str(clone))
    answer = guildnet("plan", cwd=clone)
    assert (answer.code, answer.out) == (1, "")
    assert "shallow clone" in answer.err
    assert "--from" in answer.err


def test_a_folder_that_git_refuses_is_an_error(
    guildnet: Guildnet, state: StateRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI in a container: the checkout belongs to another user."""
    state.commit({"tasks/acme/one.yaml": state.task("one")})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    for verb in (("plan",), ("plan", "--from", "HEAD~1"), ("status",)):
        answer = guildnet(*verb, cwd=state.root)
        assert (answer.code, answer.out) == (1, "")
        assert "dubious ownership" in answer.err
        assert "safe.directory" in answer.err


def test_before_the_first_commit_the_files_of_the_checkout_are_planned(
    guildnet: Guildnet, state: StateRepository
) -> None:
    root = state.root.parent / "new"
    assert guildnet("init", str(root)).code == 0
    new = replace(state, root=root)
    org = state.read("orgs/acme.yaml")
    new.write({"orgs/acme.yaml": org, "tasks/acme/one.yaml": state.task("one")})
    answer = guildnet("plan", cwd=root)
    assert answer.code == 0, answer
    assert "+ create one" in answer.out
    new.write({"tasks/acme/one.yaml": "prompt: ["})
    answer = guildnet("plan", cwd=root)
    assert answer.code == 1
    assert "! quarantine one" in answer.out


def test_uncommitted_files_are_compared_with_head_or_another_revision(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.commit({f"tasks/acme/{n}.yaml": state.task(n) for n in ("one", "two")})
    same = guildnet("plan", "--uncommitted", "--exit-code", cwd=state.root)
    assert (same.code, same.out) == (0, "Plan: nothing to do.\n")
    (state.root / "tasks/acme/one.yaml").write_text(state.task("one", "Do it better."))
    (state.root / "tasks/acme/two.yaml").unlink()
    (state.root / "tasks/acme/new.yaml").write_text(state.task("new", "Something else."))
    answer = guildnet("plan", "--uncommitted", "--exit-code", "-o", "json", cwd=state.root)
    assert answer.code == 2
    printed = json.loads(answer.out)
    jsonschema.validate(printed, plan_schema())
    assert printed["from"] == "HEAD"
    assert [(c["task"], c["action"]) for c in printed["changes"]] == [
        ("new", "create"),
        ("one", "update"),
        ("two", "delete"),
    ]
    before = guildnet("plan", "--from", "HEAD~1", "--uncommitted", cwd=state.root)
    assert before.out.splitlines()[-1] == "Plan: 2 to create."
    assert before.code == 0


def test_what_is_blocked_exits_with_1_and_follows_the_schema(
    guildnet: Guildnet, state: StateRepository
) -> None:
    (state.root / "tasks/acme").mkdir(parents=True, exist_ok=True)
    (state.root / "tasks/acme/bad.yaml").write_text("kind: Task\n")
    (state.root / "tasks/stray.yaml").write_text("kind: Task\n")
    answer = guildnet("plan", "--uncommitted", "--exit-code", "-o", "json", cwd=state.root)
    assert answer.code == 1
    jsonschema.validate(json.loads(answer.out), plan_schema())
    assert json.loads(guildnet("schema", "plan").out) == plan_schema()
