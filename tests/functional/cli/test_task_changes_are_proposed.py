"""`--propose` opens a pull request on a real forge and leaves the checkout as it was."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import GuildNetError
from guildnet_devcluster import forge
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.progress import progress_to

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet, StateRepository

PATH = "tasks/acme/fix.yaml"
REPOSITORY = "ops/state"
PASSWORD = "a-long-password-of-ann"


@pytest.fixture(scope="module")
def gitea() -> Iterator[forge.Forge]:
    with tempfile.TemporaryDirectory(prefix="guildnet-test-forge-") as folder:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        try:
            yield forge.up(Path(folder), listen=listen, root_url=None, progress=progress_to())
        except GuildNetError as error:
            pytest.skip(f"no Gitea here: {error}")
        finally:
            forge.down(Path(folder))


@pytest.fixture(scope="module")
def token(gitea: forge.Forge) -> str:
    """The token of Ann, who may push to the state repository."""
    admin = ForgeAdmin(gitea.local_url, gitea.admin_token)
    admin.create_user("ann", PASSWORD)
    admin.create_organization("ops")
    admin.create_repository(REPOSITORY)
    admin.add_collaborator(REPOSITORY, "ann")
    return admin.create_token("ann", PASSWORD, "guildnet")


@pytest.fixture
def admin(gitea: forge.Forge) -> ForgeAdmin:
    return ForgeAdmin(gitea.local_url, gitea.admin_token)


@pytest.fixture
def checkout(
    gitea: forge.Forge, admin: ForgeAdmin, token: str, state: StateRepository
) -> StateRepository:
    """The state repository, pushed; git's credential helper has Ann's token for the forge."""
    store = state.root.parent / "passwords"
    store.write_text(gitea.url.replace("://", f"://ann:{token}@") + "\n")
    settings = f"[credential]\n helper = store --file={store}\n"
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text(settings)
    state.git("remote", "add", "origin", admin.clone_url(REPOSITORY))
    state.commit({PATH: state.task("fix")})
    state.git("push", "--quiet", "--force", "--set-upstream", "origin", "main")
    deadline = time.monotonic() + 30
    while admin.is_empty(REPOSITORY):
        assert time.monotonic() < deadline, "Gitea does not notice the push"
        time.sleep(0.05)
    return state


def as_it_was(checkout: StateRepository) -> bool:
    return (
        checkout.git("symbolic-ref", "HEAD") == "refs/heads/main\n"
        and checkout.git("rev-parse", "HEAD") == checkout.git("rev-parse", "origin/main")
        and checkout.git("status", "--porcelain") == ""
    )


def test_a_new_task_becomes_a_pull_request_with_its_plan(
    guildnet: Guildnet, checkout: StateRepository, admin: ForgeAdmin, token: str
) -> None:
    """With the token of git's credential helper; main is not changed."""
    answer = guildnet(
        *("task", "new", "acme/more", "--prompt", "More of it.", "--propose"), cwd=checkout.root
    )
    assert answer.code == 0, answer
    (pull,) = [p for p in admin.pull_requests(REPOSITORY) if p["title"] == "Add task acme/more"]
    assert answer.out.splitlines() == ["tasks/acme/more.yaml", pull["html_url"]]
    assert (pull["base"]["ref"], pull["state"]) == ("main", "open")
    assert pull["head"]["ref"].startswith("new-acme-more-")
    assert "**GuildNet plan:** 1 to create." in pull["body"]
    assert admin.read_file(REPOSITORY, "tasks/acme/more.yaml", pull["head"]["ref"]) is not None
    assert admin.read_file(REPOSITORY, "tasks/acme/more.yaml") is None
    assert as_it_was(checkout)
    assert token not in answer.out + answer.err


def test_an_edit_is_proposed_with_a_given_token(
    guildnet: Guildnet, checkout: StateRepository, admin: ForgeAdmin, token: str, tmp_path: Path
) -> None:
    """Other changes of the checkout stay there, and out of the pull request."""
    (tmp_path / "token").write_text(f"{token}\n")
    checkout.write({"notes.txt": "mine", "README.md": "staged"})
    checkout.git("add", "README.md")
    given = ("--propose", "--forge-token-file", str(tmp_path / "token"))
    answer = guildnet("task", "cancel", "acme/fix", *given, cwd=checkout.root)
    assert answer.code == 0, answer
    (pull,) = [p for p in admin.pull_requests(REPOSITORY) if p["title"] == "Cancel acme/fix"]
    assert pull["html_url"] in answer.out
    changed = checkout.git("diff", "--name-only", "main", pull["head"]["ref"])
    assert changed == f"{PATH}\n"
    assert checkout.read(PATH) == checkout.task("fix")
    assert checkout.git("status", "--porcelain") == "A  README.md\n?? notes.txt\n"


def test_where_the_forge_refuses_the_branch_stays_pushed(
    guildnet: Guildnet, checkout: StateRepository, admin: ForgeAdmin, tmp_path: Path
) -> None:
    """I10."""
    (tmp_path / "token").write_text("0" * 40)
    given = ("--propose", "--forge-token-file", str(tmp_path / "token"))
    answer = guildnet("task", "suspend", "acme/fix", *given, cwd=checkout.root)
    assert answer.code == 1
    assert "was pushed, but opening a pull request failed: 401" in answer.err
    assert "Open it on the forge's web page." in answer.err
    branch = answer.err.partition("branch ")[2].split()[0]
    assert b"suspend: true" in (admin.read_file(REPOSITORY, PATH, branch) or b"")
    assert as_it_was(checkout)


def test_without_a_forge_nothing_is_written(guildnet: Guildnet, state: StateRepository) -> None:
    """I10: the error comes before the file is written, and says what else to do."""
    bare = state.root.parent / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
    asked = ("task", "new", "acme/more", "--prompt", "x", "--propose")
    without = guildnet(*asked, cwd=state.root)
    assert (without.code, "no remote named origin" in without.err) == (1, True), without
    state.git("remote", "add", "origin", str(bare))
    answer = guildnet(*asked, cwd=state.root)
    assert answer.code == 1
    assert "origin is not hosted by a forge that GuildNet supports" in answer.err
    assert "--push" in answer.err
    assert state.git("status", "--porcelain") == ""


def test_where_the_push_is_refused_the_local_branch_stays(
    guildnet: Guildnet, checkout: StateRepository
) -> None:
    """I10: the commit is not lost."""
    hook = checkout.root / ".git/hooks/pre-push"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)
    answer = guildnet("task", "suspend", "acme/fix", "--propose", cwd=checkout.root)
    assert answer.code == 1
    assert "not today" in answer.err
    branch = answer.err.partition("on branch ")[2].split()[0]
    assert "suspend: true" in checkout.git("show", f"{branch}:{PATH}")
    assert as_it_was(checkout)
