"""Which part of the work tree is published, and what is reported about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.functional.agent.conftest import git

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, NextRun, Pod

IDENTITY = "-c user.name=A -c user.email=a@example.com"


def test_a_nested_repository_is_left_out_and_reported(run: NextRun) -> None:
    """I10: a nested repository cannot be part of the commit, and this is reported."""
    state = run.to_end(
        run.pod.spec(
            "git init -q vendor/tool; echo t > vendor/tool/t.txt;"
            f"git -C vendor/tool add .; git -C vendor/tool {IDENTITY} commit -qm t;"
            "echo x > x.txt; echo v > vendor/v.txt"
        )
    )
    assert state["published"]["reason"] == "PullRequestOpened", state
    said = "left out, as nested git repositories: vendor/tool"
    assert state["published"]["message"].endswith(said)
    assert said in state["logTail"]
    assert said in run.pod.forge.show(run.branch)
    assert run.pod.forge.show(f"{run.branch}:x.txt") == "x"
    assert git(run.pod.forge.repository(), "ls-tree", run.branch, "vendor/").split()[1:] == [
        *("blob", git(run.pod.forge.repository(), "rev-parse", f"{run.branch}:vendor/v.txt")),
        "vendor/v.txt",
    ]


def test_an_empty_nested_repository_does_not_block_the_work(run: NextRun) -> None:
    """`git add` alone fails in a tree with an empty nested repository."""
    state = run.to_end(run.pod.spec("git init -q 'odd [1]*'; echo x > x.txt"))
    assert state["published"]["reason"] == "PullRequestOpened", state
    assert "odd [1]*" in state["published"]["message"]
    assert run.pod.forge.show(f"{run.branch}:x.txt") == "x"


def test_only_a_nested_repository_is_nothing_to_publish(run: NextRun) -> None:
    state = run.to_end(run.pod.spec("git init -q inner"))
    assert state["published"]["reason"] == "NothingToPublish"
    assert "left out, as nested git repositories: inner" in state["published"]["message"]
    assert run.pod.forge.tip(run.branch) is None


def test_reported_usage_is_in_last_run_json(run: NextRun) -> None:
    """A command reports its usage in an artifact with a fixed name and shape."""
    report = '{"inputTokens": 1200, "outputTokens": 34, "costUsd": 0.05}'
    state = run.to_end(run.pod.spec(f"echo '{report}' > ~/.guildnet/state/usage.json; exit 1"))
    assert state["lastRun"]["usage"] == {
        "inputTokens": 1200,
        "outputTokens": 34,
        "costUsd": 0.05,
        "reportedBy": "agent",
    }
    assert state["lastRun"]["exitCode"] == 1
    state = run.take().to_end(run.pod.spec("true"))
    assert state["lastRun"]["usage"] == {}, "what an earlier run used is not this one's"


def test_malformed_usage_is_rejected(run: NextRun) -> None:
    """I9, I10: malformed usage is rejected with the reason."""
    report = '{"tokens": {"in": 1}}'
    state = run.to_end(run.pod.spec(f"echo '{report}' > ~/.guildnet/state/usage.json"))
    assert state["outcome"] == "Succeeded"
    assert state["lastRun"]["usage"] == {}
    assert [item["name"] for item in state["rejectedArtifacts"]] == ["usage.json"]
    assert "usage of tokens must be a number" in state["rejectedArtifacts"][0]["message"]


def next_attempt_after_main_moved(pod: Pod, forge: Forge, **git_fields: Any) -> dict[str, Any]:
    """An attempt leaves only ignored files, then main moves, then another attempt commits work."""
    context = {"url": forge.url(), "secret": "forge", **git_fields}
    contexts = [{"name": "web", "git": context}]
    pod.start_halves()
    assert pod.run_to_end(pod.spec("exit 1", context=contexts))["outcome"] == "Failed"
    forge.commit("other.txt", "main")
    return pod.run_to_end(pod.spec("echo x > x.txt", context=contexts), attempt=2)


def test_work_on_an_earlier_commit_is_published_after_main_moved(pod: Pod, forge: Forge) -> None:
    """I7: an existing workspace keeps its base commit, and its work is not refused."""
    state = next_attempt_after_main_moved(pod, forge)
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.show("guildnet/acme/fix:x.txt") == "x"


def test_work_on_an_earlier_commit_of_a_shallow_clone_is_published(pod: Pod, forge: Forge) -> None:
    """In a shallow clone the commit may be missing, so it is fetched by its id."""
    state = next_attempt_after_main_moved(pod, forge, depth=1)
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.show("guildnet/acme/fix:x.txt") == "x"


def test_a_context_that_changed_its_kind_replaces_the_old_one(run: NextRun) -> None:
    """An edit turns a folder into a file: the old folder is renamed and not in the way."""
    pod = run.pod
    script = "mkdir -p ../notes && echo mine > ../notes/mine.txt"
    assert run.to_end(pod.spec(script))["outcome"] == "Succeeded"
    spec = pod.spec("test \"$(cat ../notes)\" = 'some notes'")
    spec["context"] = [*spec["context"], {"name": "notes", "text": "some notes"}]
    assert run.take().to_end(spec)["outcome"] == "Succeeded", pod.log("shim")
    kept = pod.workspace / f"notes.kept-{run.number}.1.1"
    assert (kept / "mine.txt").read_text() == "mine\n"


def add_submodule(forge: Forge, path: str) -> str:
    """Add to main a submodule at a commit on its remote; return that commit."""
    seed = forge.root / "seed"
    known = git(seed, "rev-parse", "HEAD")
    (seed / ".gitmodules").write_text(f'[submodule "{path}"]\n\tpath = {path}\n\turl = ../l.git\n')
    git(seed, "add", ".gitmodules")
    git(seed, "update-index", "--add", "--cacheinfo", f"160000,{known},{path}")
    git(seed, *IDENTITY.split(), "commit", "-qm", "submodule")
    git(seed, "push", "-q", "origin", "HEAD:main")
    return known


def test_a_submodule_moves_only_to_a_commit_that_a_remote_has(pod: Pod, forge: Forge) -> None:
    """I10: otherwise the pull request could not be cloned with its submodules."""
    known = add_submodule(forge, "lib")
    pod.start_halves()
    commit = f"git {IDENTITY} commit -qam"
    state = pod.run_to_end(
        pod.spec(
            f"set -e; git init -q lib; cd lib; echo z > z; git add z; {commit} z; cd ..;"
            f"git add lib; {commit} 'move it'; echo a > a.txt"
        )
    )
    assert state["published"]["reason"] == "PullRequestOpened", state
    assert "submodule commits that are on no remote: lib" in state["published"]["message"]
    tree = git(forge.repository(), "ls-tree", state["branch"])
    assert f"160000 commit {known}\tlib" in tree
    assert "a.txt" in tree

    fetched = f"git clone -q {forge.repository()} lib; git -C lib checkout -q HEAD~1"
    state = pod.run_to_end(pod.spec(f"set -e; rm -rf lib; {fetched}; echo b > b.txt"), run=2)
    tree = git(forge.repository(), "ls-tree", state["branch"])
    assert f"160000 commit {git(forge.root / 'seed', 'rev-parse', 'HEAD~1')}\tlib" in tree
    assert "on no remote" not in state["published"]["message"]


def test_files_outside_a_sparse_checkout_are_published(pod: Pod, forge: Forge) -> None:
    forge.commit("kept.txt", "main")
    context = {"url": forge.url(), "secret": "forge", "sparse": ["/src/"]}
    pod.start_halves()
    command = "mkdir -p src docs; echo s > src/s.txt; echo d > docs/d.txt; test ! -e kept.txt"
    state = pod.run_to_end(pod.spec(command, context=[{"name": "web", "git": context}]))
    assert state["outcome"] == "Succeeded", state
    names = git(forge.repository(), "ls-tree", "-r", "--name-only", state["branch"]).split()
    assert {"src/s.txt", "docs/d.txt", "kept.txt", "README.md"} <= set(names)


def test_a_file_that_git_cannot_add_does_not_block_the_others(run: NextRun) -> None:
    """I10: git refuses names that are dangerous on other systems."""
    command = "mkdir -p sub/.GIT; echo x > sub/.GIT/x; echo g > 'git~1'; echo a > a.txt"
    state = run.to_end(run.pod.spec(f"{command}; echo z > z.txt"))
    assert state["published"]["reason"] == "PullRequestOpened", state
    assert "left out, as git cannot add it" in state["published"]["message"]
    assert "invalid path 'git~1'" in state["published"]["message"]
    assert run.pod.forge.show(f"{run.branch}:a.txt") == "a"
    assert run.pod.forge.show(f"{run.branch}:z.txt") == "z"
