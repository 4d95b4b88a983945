"""`guildnet verify-status` accepts what a real reconciler signed, and names everything else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.functional.cli.conftest import GOOD_ORG, Guildnet

AUTHOR = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "GuildNet"), ("EMAIL", "guildnet@localhost"))
}

PERSON = "GuildNet <guildnet@localhost>"


@dataclass
class Branch:
    """A repository whose status branch a reconciler wrote, and a checkout of that branch."""

    url: str
    checkout: Path
    key: Path
    signers: Path

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.checkout), *arguments]
        done = subprocess.run(
            command, env=os.environ | AUTHOR, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def push(self, files: Mapping[str, str], *options: str, author: str = PERSON) -> str:
        for path, content in files.items():
            file = self.checkout / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        self.git("add", "-A")
        self.git(
            *options[:-1],
            "commit",
            "-q",
            "-m",
            "status: 1 org",
            *options[-1:],
            f"--author={author}",
        )
        self.git("push", "-q", "origin", "HEAD:status")
        return self.git("rev-parse", "HEAD")

    def sign(self, key: Path | None = None) -> tuple[str, ...]:
        """Options for a commit that is signed with a key, the reconciler's for None."""
        return ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key or self.key}", "-S")


def make_key(path: Path, passphrase: str = "") -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def branch(guildnet: Guildnet, tmp_path: Path) -> Branch:
    key = make_key(tmp_path / "key")
    signers = tmp_path / "signers"
    signers.write_text(f"reconciler {key.with_suffix('.pub').read_text()}")
    bare, checkout = tmp_path / "state.git", tmp_path / "checkout"
    for command in (["init", "-q", "--bare", "-b", "main", bare], ["clone", "-q", bare, checkout]):
        subprocess.run(["git", *map(str, command)], check=True, capture_output=True)
    made = Branch(str(bare), checkout, key, signers)
    (checkout / "orgs").mkdir()
    (checkout / "orgs" / "acme.yaml").write_text(GOOD_ORG)
    made.git("add", "-A")
    made.git("commit", "-q", "-m", "An org")
    made.git("push", "-q", "origin", "HEAD:main")
    # The org has no kubeconfig, which the reconciler records.
    ran = guildnet("reconciler", "--repo", str(bare), "--once", "--status-signing-key", str(key))
    assert "acme" in ran.err
    made.git("fetch", "-q")
    made.git("checkout", "-q", "-b", "status", "origin/status")
    return made


@pytest.fixture
def verify(guildnet: Guildnet, branch: Branch) -> Callable[..., Any]:
    def run(*options: str) -> tuple[int, Any]:
        ran = guildnet(
            *("verify-status", "--repo", branch.url, "--allowed-signers", str(branch.signers)),
            *("-o", "json", *options),
        )
        return ran.code, json.loads(ran.out) if ran.out else ran.err

    return run


def test_what_a_reconciler_wrote_and_signed_is_accepted(
    branch: Branch, verify: Callable[..., Any]
) -> None:
    tip = branch.git("rev-parse", "HEAD")
    assert verify() == (0, {"tip": tip, "commits": 2, "problems": []})
    assert verify("--since", tip) == (0, {"tip": tip, "commits": 0, "problems": []})


def test_every_other_commit_is_named(
    branch: Branch, verify: Callable[..., Any], tmp_path: Path
) -> None:
    record = (branch.checkout / "orgs" / "acme" / "org.json").read_text()
    forged = record.replace("acme", "evil")
    stranger = make_key(tmp_path / "stranger")
    signed, root = branch.sign(), branch.git("rev-list", "--max-parents=0", "HEAD")
    expected = {
        branch.push({"orgs/a/org.json": forged}, "--quiet"): ("", "not signed"),
        branch.push({"orgs/b/org.json": forged}, *branch.sign(stranger)): ("", "not signed"),
        branch.push({"orgs/c/org.json": "{}"}, *signed): ("orgs/c/org.json", "not in the form"),
        branch.push({"orgs/d/org.json": "{"}, *signed): ("orgs/d/org.json", "not valid JSON"),
        branch.push({"README.md": "hi"}, *signed): ("README.md", "not a file that reconcilers"),
        branch.push({"orgs/e/x": "hi"}, *signed): ("orgs/e/x", "not a file that reconcilers"),
        branch.push({"orgs/f/org.json": record}, *signed, author="Eve <e@x>"): ("", "by Eve"),
    }
    code, found = verify()
    assert code == 1
    shown = {p["commit"]: (p["path"], p["message"]) for p in found["problems"]}
    assert shown.keys() == expected.keys()
    for commit, (path, message) in expected.items():
        assert shown[commit][0] == path
        assert message in shown[commit][1]
    assert root not in shown


def test_a_merge_and_a_rewritten_branch_are_refused(
    branch: Branch, verify: Callable[..., Any]
) -> None:
    good = branch.git("rev-parse", "HEAD")
    branch.git("checkout", "-q", "-b", "side", "HEAD~1")
    branch.git(*branch.sign()[:-1], "commit", "-q", "-S", "--allow-empty", "-m", "status: 1 org")
    branch.git("checkout", "-q", "status")
    branch.git(*branch.sign()[:-1], "merge", "-q", "-S", "--no-ff", "-m", "x", "side")
    branch.git("push", "-q", "origin", "HEAD:status")
    code, found = verify()
    assert code == 1
    assert ["a merge of 2 commits" in p["message"] for p in found["problems"]] == [True]
    branch.git("push", "-q", "--force", "origin", "side:status")
    code, message = verify("--since", good)
    assert code != 0
    assert "does not contain" in message
    assert "rewritten" in message


@pytest.mark.parametrize("kind", ["missing", "not a key", "with a passphrase"])
def test_an_unusable_signing_key_stops_the_start(
    guildnet: Guildnet, tmp_path: Path, kind: str
) -> None:
    key = tmp_path / "key"
    if kind == "not a key":
        key.write_text("x")
    elif kind == "with a passphrase":
        make_key(key, "a secret word")
    ran = guildnet("reconciler", "--repo", "r", "--once", "--status-signing-key", str(key))
    assert ran.code != 0
    assert str(key) in ran.err
    assert "ssh-keygen" in ran.err
