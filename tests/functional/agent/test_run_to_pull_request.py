"""A run from its start to a pull request, on real processes, git and HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, Pod


def test_work_becomes_a_branch_and_one_pull_request(pod: Pod, forge: Forge) -> None:
    """I7, I8: one pull request that names its run; the token is nowhere the command can look."""
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
        assert "GuildNet-Run: acme/fix/1" in forge.show(commit).replace("    ", "")
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
