"""A command in a user's checkout runs the user's own git, and reports what that git said."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError, GitUnavailable, PushRejected, RefNotFound
from guildnet.git.checkout import Checkout, CheckoutCommandFailed


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "work")
    made.root.mkdir()
    made.init()
    (made.root / "a.txt").write_text("a\n")
    made.commit(["a.txt"], "First")
    return made


@pytest.fixture
def origin(tmp_path: Path, checkout: Checkout) -> Path:
    bare = tmp_path / "origin.git"
    git(checkout.root, "clone", "--quiet", "--bare", ".", str(bare))
    git(checkout.root, "remote", "add", "origin", str(bare))
    return bare


def test_a_commit_has_the_users_identity_and_runs_the_users_hooks(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ada Example")
    hook = checkout.root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\ngrep -q forbidden b.txt && { echo not allowed >&2; exit 1; }\ntrue\n"
    )
    hook.chmod(0o755)
    (checkout.root / "b.txt").write_text("allowed\n")
    commit = checkout.commit(["b.txt"], "Second")
    assert git(checkout.root, "log", "-1", "--format=%H %an") == f"{commit} Ada Example"
    (checkout.root / "b.txt").write_text("forbidden\n")
    with pytest.raises(CheckoutCommandFailed, match="not allowed"):
        checkout.commit(["b.txt"], "Third")


def test_other_staged_changes_stay_out_of_a_commit(checkout: Checkout) -> None:
    for name in ("b.txt", "c.txt"):
        (checkout.root / name).write_text(name)
    git(checkout.root, "add", "c.txt")
    checkout.commit(["b.txt"], "Second")
    assert git(checkout.root, "show", "--name-only", "--format=", "HEAD") == "b.txt"


def test_the_users_credential_helper_is_asked_for_the_host(checkout: Checkout) -> None:
    helper = (
        '!f() { test "$1" = get && grep -q host=forge.example'
        " && echo username=ada && echo password=s3=cret; }; f"
    )
    git(checkout.root, "config", "credential.helper", helper)
    assert checkout.stored_password("https://forge.example/a/b.git") == "s3=cret"
    assert checkout.stored_password("git@forge.example:a/b.git") == "s3=cret"
    assert checkout.stored_password("https://other.example/a/b.git") is None


def test_a_checkout_of_another_user_is_refused_with_gits_message(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    for question in (checkout.top_level, checkout.head, checkout.has_origin):
        with pytest.raises(CheckoutCommandFailed, match="dubious ownership"):
            question()


def test_an_unknown_name_is_none_and_a_folder_without_git_has_no_top_level(
    checkout: Checkout, tmp_path: Path
) -> None:
    assert checkout.revision("no-such-branch") is None
    assert checkout.top_level() == checkout.root
    assert Checkout(tmp_path).top_level() is None
    with pytest.raises(CheckoutCommandFailed, match="No such file or directory"):
        Checkout(tmp_path / "absent").top_level()


def test_a_shallow_clone_knows_that_its_commit_has_a_parent(
    checkout: Checkout, tmp_path: Path
) -> None:
    assert not checkout.has_parents("HEAD")
    (checkout.root / "a.txt").write_text("b\n")
    checkout.commit(["a.txt"], "Second")
    shallow = Checkout(tmp_path / "shallow")
    git(tmp_path, "clone", "--quiet", "--depth=1", checkout.root.as_uri(), str(shallow.root))
    assert shallow.revision("HEAD~1") is None
    assert shallow.has_parents("HEAD")


def test_detached_commits_leave_the_branch_where_it_was(checkout: Checkout) -> None:
    before = checkout.head()
    (checkout.root / "b.txt").write_text("b\n")
    with checkout.detached():
        commit = checkout.commit(["b.txt"], "Proposed")
    assert (checkout.head(), git(checkout.root, "symbolic-ref", "HEAD")) == (
        before,
        "refs/heads/main",
    )
    assert checkout.create_branch("proposal", commit) == "proposal"
    assert checkout.revision("proposal") == commit


@pytest.mark.usefixtures("origin")
def test_a_fetch_tells_a_missing_branch_from_an_origin_that_does_not_answer(
    checkout: Checkout,
) -> None:
    assert checkout.revision(checkout.fetch("main")) == checkout.head()
    with pytest.raises(RefNotFound, match="no branch status"):
        checkout.fetch("status")
    git(checkout.root, "remote", "set-url", "origin", str(checkout.root / "gone.git"))
    with pytest.raises(GitUnavailable, match=r"gone\.git"):
        checkout.fetch("main")


def test_a_rejected_push_keeps_the_message_of_the_remote(checkout: Checkout, origin: Path) -> None:
    checkout.push_branch("main")
    assert checkout.upstream_branch() == "main"
    hook = origin / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho main is protected >&2\nexit 1\n")
    hook.chmod(0o755)
    (checkout.root / "a.txt").write_text("b\n")
    checkout.commit(["a.txt"], "Second")
    with pytest.raises(PushRejected, match="main is protected"):
        checkout.push()


def test_no_message_contains_the_password_of_a_url(checkout: Checkout) -> None:
    git(checkout.root, "remote", "add", "origin", "http://ada:s3cret@127.0.0.1:1/a.git")
    with pytest.raises(GitUnavailable) as raised:
        checkout.fetch("main")
    assert "s3cret" not in str(raised.value)


def test_without_git_the_message_names_what_to_install(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="git is not installed"):
        checkout.head()


def test_a_command_that_hangs_is_ended(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guildnet.git.checkout.TIMEOUT", timedelta(seconds=1))
    git(checkout.root, "config", "credential.helper", "!sleep 300; :")
    with pytest.raises(Exception, match="took longer than 1 s"):
        checkout.stored_password("https://forge.example/a.git")
