"""Work in progress is pushed while the command runs, so a lost node loses little."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.functional.agent.conftest import git, wait_for

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, Pod

BRANCH = "guildnet/acme/fix"
IN_PROGRESS = "guildnet-wip/acme/fix.r1"
# Two commits of the command's own, then what is not committed: changed, new, staged, removed.
WORK = (
    "echo one > one.txt; git add .; git commit -qm one;"
    "echo two > two.txt; git add .; git commit -qm two;"
    "echo changed > README.md; echo new > new.txt; echo staged > staged.txt; git add staged.txt;"
    "rm one.txt; echo ignored > skip.log; echo '*.log' > .gitignore;"
)


@pytest.fixture
def quick_pod(pod: Pod) -> Pod:
    pod.settings = {"CHECKPOINT_SECONDS": "1"}
    return pod


def lose_node(pod: Pod) -> None:
    """The pod, and its workspace with it."""
    pod.lose_pod()
    shutil.rmtree(pod.workspace)
    pod.workspace.mkdir()


def until_in_progress(forge: Forge, name: str, text: str) -> str:
    """Wait until a file in the checkpoint has this content; return the checkpoint's commit."""

    def look() -> str | None:
        tip = forge.tip(IN_PROGRESS)
        if tip is None or name not in forge.show(f"{tip}:").split():
            return None
        return tip if forge.show(f"{tip}:{name}") == text else None

    return wait_for(f"{name} is in a checkpoint", look)


def test_a_lost_node_loses_no_more_than_one_interval(quick_pod: Pod, forge: Forge) -> None:
    """I7: the next start restores commits and uncommitted changes in an empty workspace."""
    pod = quick_pod
    pod.start_halves()
    pod.start(pod.spec(f"{WORK} exec sleep 600"))
    tip = until_in_progress(forge, ".gitignore", "*.log")  # the last that WORK does
    assert "GuildNet-Run: acme/fix/1" in forge.show(tip)
    assert "[skip ci]" in forge.show(tip)
    assert forge.branches() == {"main", IN_PROGRESS}
    lose_node(pod)

    pod.start_halves()
    state = pod.run_to_end(
        pod.spec(
            "set -e; test $(cat README.md) = changed; test $(cat new.txt) = new;"
            "test $(cat staged.txt) = staged; test ! -e one.txt; test ! -e skip.log;"
            "git log --format=%s | head -2 | tr '\\n' ' ' | grep -q 'two one';"
            'test -n "$(git status --porcelain)"; git branch --show-current; echo 3 > three.txt'
        ),
        start=2,
    )
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert BRANCH in state["logTail"]
    assert (forge.created, len(forge.pulls)) == (1, 1)
    assert forge.show(f"{BRANCH}:three.txt") == "3"
    assert forge.show(f"{BRANCH}:new.txt") == "new"
    subjects = git(forge.repository(), "log", "--format=%s", BRANCH).splitlines()
    assert subjects[:3] == ["Work of acme/fix/1", "two", "one"]
    # The work is only on its branch.
    assert forge.branches() == {"main", BRANCH}


def test_the_command_and_its_repository_are_not_disturbed(quick_pod: Pod, forge: Forge) -> None:
    """The command's index, refs and objects do not change; each checkpoint replaces the last."""
    pod = quick_pod
    gate, go = pod.folder / "gate", pod.folder / "go"
    look = (
        "{ git for-each-ref; git ls-files -s; git status --porcelain --ignored;"
        " git count-objects; git rev-parse HEAD; ls -A .git; }"
    )
    pod.start_halves()
    pod.start(
        pod.spec(
            f"{WORK} {look} > ../before; until test -e {go}; do sleep 0.1; done;"
            f"echo newer > new.txt; until test -e {gate}; do sleep 0.1; done;"
            f"echo new > new.txt; {look} > ../after"
        )
    )
    first = until_in_progress(forge, "new.txt", "new")
    go.touch()
    second = until_in_progress(forge, "new.txt", "newer")
    gate.touch()
    state = pod.wait_for_step("Finished")
    assert (pod.workspace / "before").read_text() == (pod.workspace / "after").read_text()
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    parents = {git(forge.repository(), "rev-parse", f"{commit}^") for commit in (first, second)}
    assert len(parents) == 1, "both stand on the command's own commit"
    assert forge.branches() == {"main", BRANCH}


def test_an_existing_workspace_is_used_without_its_checkpoint(quick_pod: Pod, forge: Forge) -> None:
    """After a lost pod, an existing workspace is used as it is."""
    pod = quick_pod
    pod.start_halves()
    pod.start(
        pod.spec(
            "echo 1 > one.txt; git add .; git commit -qm one;"
            f"until test -e {pod.folder}/gate; do sleep 0.1; done;"
            "echo 2 > one.txt; git commit -qa --amend -m other; touch ../amended; exec sleep 600"
        )
    )
    until_in_progress(forge, "one.txt", "1")
    pod.settings = {"CHECKPOINT_SECONDS": "0"}
    (pod.folder / "gate").touch()
    wait_for("the commit is amended", (pod.workspace / "amended").exists)
    pod.lose_pod()
    pod.start_halves()
    state = pod.run_to_end(pod.spec("test $(cat one.txt) = 2 && echo 3 > three.txt"), start=2)
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.show(f"{BRANCH}:one.txt") == "2"
    assert forge.branches() == {"main", BRANCH}


def test_a_checkpoint_of_a_shallow_clone_is_used_after_main_moved(
    quick_pod: Pod, forge: Forge
) -> None:
    """In a shallow clone the base may be missing, so it is fetched by its id."""
    pod = quick_pod
    context = {"url": forge.url(), "secret": "forge", "depth": 1}
    contexts = [{"name": "web", "git": context}]
    pod.start_halves()
    pod.start(
        pod.spec("echo 1 > one.txt; exec sleep 600", context=contexts),
    )
    until_in_progress(forge, "one.txt", "1")
    lose_node(pod)
    forge.commit("other.txt", "main")
    pod.start_halves()
    state = pod.run_to_end(
        pod.spec("test -e one.txt && test ! -e other.txt && echo 2 > two.txt", context=contexts),
        start=2,
    )
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.show(f"{BRANCH}:one.txt") == "1"
    assert forge.branches() == {"main", BRANCH}


def test_a_checkpoint_older_than_the_branch_is_ignored(quick_pod: Pod, forge: Forge) -> None:
    """The work saved at the end of an attempt is newer than its last checkpoint."""
    pod = quick_pod
    pod.start_halves()
    pod.start(pod.spec("echo 1 > one.txt; exec sleep 600"))
    tip = until_in_progress(forge, "one.txt", "1")
    pod.ask("POST", "/stop", {"reason": "DeadlineExceeded"})
    assert pod.wait_for_step("Stopped")["published"]["reason"] == "BranchPushed"
    assert forge.branches() == {"main", BRANCH}
    # As if deleting the branch had failed.
    git(forge.repository(), "update-ref", f"refs/heads/{IN_PROGRESS}", tip)
    lose_node(pod)
    pod.start_halves()
    state = pod.run_to_end(pod.spec("git status --porcelain; cat one.txt"), attempt=2)
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert state["logTail"].endswith("1\n")
    assert state["commit"] == forge.tip(BRANCH)
    assert forge.branches() == {"main", BRANCH}


def test_a_branch_that_is_not_a_checkpoint_of_this_run_is_ignored(pod: Pod, forge: Forge) -> None:
    """A branch that another person created in its place does not count as the work."""
    forge.commit("theirs.txt", IN_PROGRESS, onto="origin/main")
    pod.start_halves()
    state = pod.run_to_end(pod.spec("test ! -e theirs.txt && echo x > x.txt"))
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.show(f"{BRANCH}:x.txt") == "x"


def test_a_remote_that_refuses_checkpoints_does_not_delay_the_run(
    quick_pod: Pod, forge: Forge
) -> None:
    """A failed checkpoint is logged; the command continues."""
    pod = quick_pod
    hook = forge.repository() / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase "$1" in *guildnet-wip*) echo "not here" >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    gate = pod.folder / "gate"
    pod.start_halves()
    pod.start(pod.spec(f"echo x > x.txt; until test -e {gate}; do sleep 0.1; done"))
    wait_for("the refusal is logged", lambda: "not here" in pod.log("supervisor"))
    gate.touch()
    state = pod.wait_for_step("Finished")
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.branches() == {"main", BRANCH}


def test_the_state_names_the_checkpoint_of_a_lost_work_container(
    quick_pod: Pod, forge: Forge
) -> None:
    """I10: if the work container hands over nothing, the state names the work in progress."""
    pod = quick_pod
    pod.settings["HAND_OVER_SECONDS"] = "2"
    pod.start_halves()
    pod.start(pod.spec("echo x > x.txt; exec sleep 600"))
    until_in_progress(forge, "x.txt", "x")
    pod.end_half("shim")
    pod.ask("POST", "/stop", {"reason": "Suspended"})
    state = pod.wait_for_step("Stopped")
    assert state["outcome"] == "Stopped"
    assert "handed over nothing" in state["published"]["message"]
    assert IN_PROGRESS in state["published"]["message"]
    assert forge.branches() == {"main", IN_PROGRESS}


def test_a_forged_checkpoint_is_not_pushed(pod: Pod, forge: Forge) -> None:
    """I9: at most one forged checkpoint per interval is read, and none is pushed."""
    pod.settings = {"CHECKPOINT_SECONDS": "600"}
    pod.start_halves()
    out = pod.out / "1.1.1"
    state = pod.run_to_end(
        pod.spec(
            f"for n in 1 2 3 4 5 6 7 8 9; do echo $n > {out}/c; mv {out}/c {out}/checkpoint.bundle;"
            "sleep 0.4; done; echo x > x.txt"
        )
    )
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert pod.log("supervisor").count("checkpoint not pushed: not a git bundle") == 1
    assert forge.branches() == {"main", BRANCH}
