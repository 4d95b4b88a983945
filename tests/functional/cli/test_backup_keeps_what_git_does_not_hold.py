"""`guildnet backup` keeps files encrypted, says what is not kept, and gives them back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

Guildnet = Callable[..., Any]
SECRET = "not-to-be-seen-0123456789"


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The recipient of this machine's age identity."""
    made = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"# mine\n{made}\n")
    monkeypatch.setenv("GUILDNET_AGE_IDENTITY", str(tmp_path / "identity"))
    return str(made.to_public())


@pytest.fixture
def state() -> Path:
    """A state folder with secrets, and a mirror, which git can make again."""
    state = Path(os.environ["GUILDNET_STATE_DIR"])
    for name in (
        "reconciler-token",
        "dashboard/session.key",
        "talos/acme/secrets.yaml",
        "bootstrap/state/git/ssh-privatekey",
        "mirror/x",
    ):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(f"{SECRET} {name}\n")
    return state


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    (tmp_path / "hook").write_text(SECRET)
    return tmp_path / "hook"


def states(ran: Any) -> dict[str, str]:
    return {each["item"]: each["state"] for each in json.loads(ran.out)}


def test_without_a_backup_nothing_is_kept(guildnet: Guildnet, state: Path, hook: Path) -> None:
    ran = guildnet("backup", "--check", "--file", str(hook))
    assert ran.code == 1
    assert "talos/acme/secrets.yaml" in ran.out
    assert "NOT KEPT" in ran.out
    assert "mirror" not in ran.out
    assert SECRET not in ran.out + ran.err


def test_a_backup_is_opened_with_its_identity_alone(
    guildnet: Guildnet, state: Path, hook: Path, identity: str, tmp_path: Path
) -> None:
    ran = guildnet("backup", "kept", "--recipient", identity, "--file", str(hook))
    assert ran.code == 0, ran.err
    for file in (tmp_path / "kept").iterdir():
        assert SECRET.encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0

    opened = guildnet("backup", "kept", "--open", "opened")
    assert opened.code == 0, opened.err
    session = "dashboard/session.key"
    assert (tmp_path / "opened/state" / session).read_text() == (state / session).read_text()
    assert (tmp_path / f"opened/files{hook}").read_text() == SECRET
    again = guildnet("backup", "kept", "--open", "opened")
    assert (again.code, "not empty" in again.err) == (1, True)

    (tmp_path / "identity").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    other = guildnet("backup", "kept", "--open", "other")
    assert other.code == 1
    assert "cannot be decrypted" in other.err
    assert not (tmp_path / "other").exists()


def test_a_check_finds_what_changed_since_the_backup(
    guildnet: Guildnet, state: Path, hook: Path, identity: str
) -> None:
    guildnet("backup", "kept", "--recipient", identity, "--file", str(hook))
    assert guildnet("backup", "kept", "--check").code == 0
    hook.write_text("rotated")
    (state / "talos/acme/talosconfig").write_text("new")
    (state / "reconciler-token").unlink()
    ran = guildnet("backup", "kept", "--check", "-o", "json")
    assert ran.code == 1
    assert states(ran) == {
        "state/dashboard/session.key": "kept",
        "state/bootstrap/state/git/ssh-privatekey": "kept",
        "state/talos/acme/secrets.yaml": "kept",
        "state/talos/acme/talosconfig": "not kept",
        f"files{hook}": "changed",
        "age identity": "by hand",
    }


def test_a_cluster_that_does_not_answer_is_not_kept(
    guildnet: Guildnet, state: Path, identity: str
) -> None:
    """What can be read is kept, and the exit code says that it is not everything."""
    (state / "kube").mkdir()
    (state / "kube/acme.config").write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
                "users": [{"name": "u", "user": {"token": SECRET}}],
            }
        )
    )
    ran = guildnet("backup", "kept", "--recipient", identity, "-o", "json")
    assert ran.code == 1
    assert states(ran)["secrets/acme"] == "unreadable"
    assert states(ran)["state/kube/acme.config"] == "kept"


def test_a_damaged_backup_is_named(
    guildnet: Guildnet, state: Path, identity: str, tmp_path: Path
) -> None:
    guildnet("backup", "kept", "--recipient", identity)
    with (tmp_path / "kept/backup.tar.age").open("ab") as file:
        file.write(b"x")
    for arguments in (["--check"], ["--open", "opened"]):
        ran = guildnet("backup", "kept", *arguments)
        assert ran.code == 1
        assert "damaged" in ran.err
    assert "no backup here" in guildnet("backup", "elsewhere", "--check").err


def test_a_backup_is_never_overwritten(guildnet: Guildnet, state: Path, identity: str) -> None:
    """The next one may lack what a lost cluster no longer says."""
    assert guildnet("backup", "kept", "--recipient", identity).code == 0
    ran = guildnet("backup", "kept", "--recipient", identity)
    assert (ran.code, "not empty" in ran.err) == (1, True)
    assert guildnet("backup", "other", "--recipient", "age1nonsense").code == 1
    assert guildnet("backup", "other").code == 2
