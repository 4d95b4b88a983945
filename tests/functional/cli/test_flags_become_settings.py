"""The flags of the services become the settings of their components."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import guildnet_dashboard.main
import guildnet_operator.main
import guildnet_reconciler.main
from guildnet.errors import ConfigurationError
from guildnet.git import SecretFolder
from guildnet_cli.main import app
from guildnet_cli.options import GitOptions


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings that each service would be started with; no service runs."""
    seen: list[Any] = []

    async def run(settings: Any) -> int:
        seen.append(settings)
        return 0

    for component in (guildnet_reconciler, guildnet_operator, guildnet_dashboard):
        monkeypatch.setattr(component.main, "run", run)
    return seen


def start(started: list[Any], *arguments: str) -> Any:
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    return started.pop()


def test_the_reconciler(started: list[Any], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame\n")
    found = start(
        started,
        *("reconciler", "--repo", str(tmp_path), "--branch", "dev", "--status-branch", "st"),
        *("--listen", "0.0.0.0:9", "--webhook-secret-file", "w", "--poll", "90s", "--org", "acme"),
        *("--shards", "3", "--shard", "2", "--init-status", "--allowed-signers", "a"),
        *("--openpgp-keyring", "k", "--org-signers", "o"),
        *(
            "--token-file",
            "t",
            "--forge-token-file",
            "f",
            "--grant",
            "shared=acme:a,b",
            "--grant",
            "all=acme",
        ),
        *("--git-token-file", str(token), "--git-username", "bot"),
    )
    assert (found.repo, found.branch, found.status_branch) == (str(tmp_path), "dev", "st")
    assert (found.listen, found.poll) == ("0.0.0.0:9", timedelta(seconds=90))
    assert (found.webhook_secret_file, found.forge_token_file) == (Path("w"), Path("f"))
    assert (found.org, found.shards, found.shard, found.init_status) == ("acme", 3, 2, True)
    assert (found.allowed_signers, found.token_file) == (Path("a"), Path("t"))
    assert (found.openpgp_keyring, found.org_signers) == (Path("k"), Path("o"))
    assert found.granted_kubeconfigs == {
        "shared": frozenset({"acme:a", "acme:b"}),
        "all": frozenset({"acme"}),
    }
    given = SecretFolder(found.credentials).current()
    assert (given.username, given.password) == ("bot", "sesame")
    assert "sesame" not in repr(found)


def test_with_once_the_reconciler_does_not_listen(started: list[Any]) -> None:
    found = start(started, "reconciler", "--repo", "https://git.example/x", "--once")
    assert found.once
    assert found.listen is None


def test_without_flags_the_settings_are_the_defaults(started: list[Any], tmp_path: Path) -> None:
    for verb, own in (("reconciler", "repo"), ("dashboard", "repository")):
        found = start(started, verb, "--repo", "https://git.example/x")
        plain = type(found)(**{own: "https://git.example/x", "state_dir": found.state_dir})
        for field in fields(found):
            if field.name != "holder":
                assert getattr(found, field.name) == getattr(plain, field.name), field.name


def test_the_operator(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUILDNET_WORK_IMAGE", "work:2")
    found = start(started, *("operator", "--kubeconfig", "k", "--context", "c"), "--namespace", "n")
    assert (found.kubeconfig, found.context, found.namespace) == (Path("k"), "c", "n")
    assert found.work_image == "work:2"


def test_the_dashboard(started: list[Any]) -> None:
    found = start(
        started,
        *("dashboard", "--repo", "https://git.example/x", "--listen", "[::1]:9", "--dev-tls"),
        *("--token-file", "t", "--host", "a.example", "--host", "b.example", "--poll", "1m"),
    )
    assert (found.listen, found.dev_tls, found.token_file) == ("[::1]:9", True, Path("t"))
    assert (found.hosts, found.poll) == (("a.example", "b.example"), timedelta(minutes=1))


def test_a_token_is_linked_and_never_copied(tmp_path: Path) -> None:
    """I8: one copy exists, and a rotated token is used at once."""
    token = tmp_path / "token"
    token.write_text("first")
    folder = GitOptions(git_token_file=token, git_username="bot").folder()
    assert folder is not None
    assert (folder / "token").is_symlink()
    token.write_text("second")
    assert SecretFolder(folder).current().password == "second"
    assert GitOptions(git_token_file=token, git_username="bot").folder() == folder
    assert GitOptions().folder() is None
    assert GitOptions(tmp_path).folder() == tmp_path
    with pytest.raises(ConfigurationError, match="no such file"):
        GitOptions(git_token_file=tmp_path / "gone").folder()
