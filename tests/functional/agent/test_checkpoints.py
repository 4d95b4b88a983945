"""Work in progress is on the remote while the command runs, and bounds what a lost node loses."""

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
    """Wait until a file of the checkpoint has a content; the checkpoint's commit."""

    def look() -> str | None:
        tip = forge.tip(IN_PROGRESS)
        if tip is None or name not in forge.show(f"{tip}:").split():
            return None
        return tip if forge.show(f"{tip}:{name}") == text else None

    return wait_for(f"{name} is in a checkpoint", look)


def test_a_lost_node_loses_no_more_than_one_interval(quick_pod: Pod, forge: Forge) -> None:
    """I7: the next start on an empty workspace finds commits and leftovers as they were."""
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
    # The work is on its branch, and nothing else is left of it.
    assert forge.branches() == {"main", BRANCH}


def test_the_command_and_its_repository_are_not_disturbed(quick_pod: Pod, forge: Forge) -> None:
    """Index, refs and objects stay the command's; each checkpoint replaces the one before."""
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


def test_a_kept_workspace_goes_on_by_itself(quick_pod: Pod, forge: Forge) -> None:
    """A lost pod whose workspace is there needs no checkpoint, and is not held to it."""
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


def test_a_checkpoint_of_a_shallow_clone_is_gone_on_from_although_main_moved(
    quick_pod: Pod, forge: Forge
) -> None:
    """Depth cuts history where the work begins: the checkpoint brings its own beginning."""
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


def test_a_checkpoint_that_is_older_than_the_branch_is_left(quick_pod: Pod, forge: Forge) -> None:
    """What an attempt saved at its end is newer than what it had in progress."""
    pod = quick_pod
    pod.start_halves()
    pod.start(pod.spec("echo 1 > one.txt; exec sleep 600"))
    tip = until_in_progress(forge, "one.txt", "1")
    pod.ask("POST", "/stop", {"reason": "DeadlineExceeded"})
    assert pod.wait_for_step("Stopped")["published"]["reason"] == "BranchPushed"
    assert forge.branches() == {"main", BRANCH}
    # As if taking the branch away had failed.
    git(forge.repository(), "update-ref", f"refs/heads/{IN_PROGRESS}", tip)
    lose_node(pod)
    pod.start_halves()
    state = pod.run_to_end(pod.spec("git status --porcelain; cat one.txt"), attempt=2)
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert state["logTail"].endswith("1\n")
    assert state["commit"] == forge.tip(BRANCH)
    assert forge.branches() == {"main", BRANCH}


def test_a_branch_that_is_no_checkpoint_of_this_run_is_not_gone_on_from(
    pod: Pod, forge: Forge
) -> None:
    """A branch somebody put in its place is not taken for the work."""
    forge.commit("theirs.txt", IN_PROGRESS, onto="origin/main")
    pod.start_halves()
    state = pod.run_to_end(pod.spec("test ! -e theirs.txt && echo x > x.txt"))
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.show(f"{BRANCH}:x.txt") == "x"


def test_a_remote_that_takes_no_checkpoints_holds_up_nobody(quick_pod: Pod, forge: Forge) -> None:
    """What goes wrong with a checkpoint is logged; the command and its work go on."""
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


def test_a_work_side_that_is_gone_leaves_its_checkpoint_and_status_says_where(
    quick_pod: Pod, forge: Forge
) -> None:
    """I10: stopped without a word from the work side, the work in progress is still there."""
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
    """I9: what is no checkpoint is not pushed, and no flood of them is even looked at."""
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
