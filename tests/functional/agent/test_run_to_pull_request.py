"""A run from its start to a pull request, on real processes, git and HTTP."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, Pod


def test_work_becomes_a_branch_and_one_pull_request(pod: Pod, forge: Forge) -> None:
    """I7, I8: one pull request that names its run; the command cannot read the token."""
    pod.start_halves()
    assert pod.state()["step"] == "Waiting"
    state = pod.run_to_end(
        pod.spec(
            'echo "working on: $GUILDNET_PROMPT"; cat "$GUILDNET_PROMPT_FILE"; pwd;'
            "echo fixed > README.md; git commit -qam 'Repair it'; echo left > new.txt; env"
        )
    )
    assert state["outcome"] == "Succeeded", state
    assert state["published"]["reason"] == "PullRequestOpened"
    assert state["branch"] == "guildnet/acme/fix"
    assert state["commit"] == forge.tip("guildnet/acme/fix")
    assert forge.show("guildnet/acme/fix:README.md") == "fixed"
    assert forge.show("guildnet/acme/fix:new.txt") == "left"
    for commit in ("guildnet/acme/fix", "guildnet/acme/fix~1"):
        assert "GuildNet-Run: acme/fix/1" in forge.show(commit)
    assert "Author: GuildNet Agent <agent@guildnet.invalid>" in forge.show("guildnet/acme/fix")

    assert forge.created == 1
    pull = forge.pulls[0]
    assert pull["title"] == "Fix the thing."
    assert "GuildNet-Run: acme/fix/1" in pull["body"].splitlines()
    last_pr = json.loads(pod.ask("GET", "/artifacts/last_pr.json").content)
    assert last_pr == state["pullRequest"]
    assert last_pr == {
        "url": pull["html_url"],
        "provider": "gitea",
        "repository": "acme/web",
        "number": 1,
        "state": "open",
        "branch": "guildnet/acme/fix",
        "base": "main",
        "commit": state["commit"],
        "title": "Fix the thing.",
        "createdAt": "2026-01-02T03:04:05Z",
    }
    assert state["lastRun"]["exitCode"] == 0
    assert state["contexts"] == [{"name": "web", "state": "Ready", "message": ""}]
    log = pod.ask("GET", "/logs?tail=65536").text
    assert "working on: Fix the thing." in log
    assert str(pod.workspace / "web") in log
    for text in (log, pod.log("shim"), pod.log("supervisor"), json.dumps(state)):
        assert "forge-token-0123456789" not in text


def test_a_failed_attempt_is_saved_and_the_next_continues_from_it(pod: Pod, forge: Forge) -> None:
    """I7: two attempts of a run share one branch and one pull request; no work is lost."""
    pod.start_halves()
    state = pod.run_to_end(pod.spec("echo one > one.txt; echo it broke here; exit 3"))
    assert state["outcome"] == "Failed"
    assert state["exitCode"] == 3
    assert state["failure"]["reason"] == "TaskFailed"
    assert state["failure"]["infrastructure"] is False
    assert "exit code 3" in state["failure"]["message"]
    assert "it broke here" in state["failure"]["message"]
    assert "it broke here" in state["logTail"]
    assert state["published"]["reason"] == "BranchPushed"
    assert forge.show("guildnet/acme/fix:one.txt") == "one"
    assert forge.pulls == []

    second = "test -e one.txt && echo two > two.txt"
    state = pod.run_to_end(pod.spec(second), attempt=2)
    assert state["outcome"] == "Succeeded", pod.log("shim")
    assert forge.show("guildnet/acme/fix:two.txt") == "two"
    assert (forge.created, len(forge.pulls)) == (1, 1)


def test_texts_urls_and_config_maps_are_files_and_artifacts_are_collected(
    pod: Pod, forge: Forge
) -> None:
    """A task without pull request leaves only its artifact; nothing is pushed."""
    (forge.root / "files").mkdir()
    (forge.root / "files" / "spec.md").write_text("the spec")
    (pod.folder / "configmaps" / "rules").mkdir()
    (pod.folder / "configmaps" / "rules" / "style").write_text("be brief")
    digest = hashlib.sha256(b"the spec").hexdigest()
    url = f"{forge.files}/spec.md"
    pod.start_halves()
    spec: dict[str, Any] = {
        "prompt": "Sum it up",
        "agent": {
            "preset": "shell",
            "command": [
                "sh",
                "-c",
                'printf \'{"said": "%s|%s|%s|%s"}\' "$(cat notes)" "$(cat spec)"'
                ' "$(cat rules/style)" "$1" > ~/.guildnet/state/summary.json',
                "sh",
                "{prompt}",
            ],
        },
        "context": [
            {"name": "notes", "text": "some notes"},
            {"name": "spec", "url": {"href": url, "sha256": digest, "maxBytes": "1Ki"}},
            {"name": "rules", "configMap": "rules"},
        ],
    }
    state = pod.run_to_end(spec)
    assert state["outcome"] == "Succeeded", state
    assert state["published"]["reason"] == "NothingToPublish"
    body = pod.ask("GET", "/artifacts/summary.json").content
    assert json.loads(body) == {"said": "some notes|the spec|be brief|Sum it up"}
    assert state["artifacts"] == [
        {
            "name": "summary.json",
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
    ]
    assert pod.ask("GET", "/artifacts/nothing.json").status_code == 404
    assert forge.branches() == {"main"}


def test_a_second_run_continues_the_open_pull_request_or_starts_its_own(
    pod: Pod, forge: Forge
) -> None:
    """I7: `continues` names a branch; it is used while its pull request is open, never after."""
    pod.start_halves()
    pod.run_to_end(pod.spec("echo 1 > one.txt"))
    more = pod.spec("test -e one.txt && echo 2 > two.txt", continues="guildnet/acme/fix")
    state = pod.run_to_end(more, run=2)
    assert state["outcome"] == "Succeeded", pod.log("shim")
    assert state["pullRequest"]["number"] == 1
    assert forge.show("guildnet/acme/fix:two.txt") == "2"
    assert "GuildNet-Run: acme/fix/2" in forge.show("guildnet/acme/fix")

    forge.pulls[0] |= {"state": "closed", "merged": True}
    again = pod.spec("test ! -e two.txt && echo 3 > three.txt", continues="guildnet/acme/fix")
    state = pod.run_to_end(again, run=3)
    assert state["outcome"] == "Succeeded", pod.log("shim")
    assert state["branch"] == "guildnet/acme/fix.r3"
    assert state["pullRequest"]["number"] == 2
    assert forge.branches() == {"main", "guildnet/acme/fix", "guildnet/acme/fix.r3"}


def test_a_shallow_clone_at_a_tag_works(pod: Pod, forge: Forge) -> None:
    """The clone has the given depth, ref and sparse paths, and work on it can be pushed."""
    bare = forge.repository()
    tip = forge.tip("main")
    assert tip is not None
    (bare / "refs" / "tags" / "v1").write_text(tip + "\n")
    context = {"url": forge.url(), "secret": "forge", "ref": "v1", "depth": 1}
    spec = pod.spec(
        "test $(git rev-list --count HEAD) = 1 && git checkout -qb mine && echo x > x.txt",
        context=[{"name": "web", "git": context}],
        pullRequest={"context": "web"},
    )
    pod.start_halves()
    state = pod.run_to_end(spec)
    assert state["outcome"] == "Succeeded", (state, pod.log("shim"))
    assert forge.show("guildnet/acme/fix:x.txt") == "x"
    assert state["pullRequest"]["base"] == "main"


def test_a_command_that_changes_nothing_publishes_nothing(pod: Pod, forge: Forge) -> None:
    pod.start_halves()
    state = pod.run_to_end(pod.spec("true"))
    assert state["outcome"] == "Succeeded"
    assert state["published"]["reason"] == "NothingToPublish"
    assert forge.branches() == {"main"}
    assert state["pullRequest"] is None
