"""A token that is rotated while the supervisor runs is masked, and so is the old one (I8)."""

from __future__ import annotations

from pathlib import Path

from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.redaction import MountedRedactor


def test_old_and_new_values_are_masked(tmp_path: Path) -> None:
    token = tmp_path / "git" / "forge" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("first-token\n")
    redact = MountedRedactor(Settings(git_dir=tmp_path / "git", agent_dir=tmp_path))
    assert redact("first-token second-token") == "*** second-token"
    token.write_text("second-token\n")
    assert redact("first-token second-token") == "*** ***"
    token.unlink()
    assert redact.message("first-token https://u:p@h/?q") == "*** https://h/?***"
