"""Which values of mounted Secrets are masked."""

from __future__ import annotations

from pathlib import Path

from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.git.credentials import secret_values


def test_tokens_keys_and_passwords_are_secrets_and_names_are_not(tmp_path: Path) -> None:
    """I8: a user name that equals the org's is not masked in every URL."""
    forge = tmp_path / "git" / "forge"
    forge.mkdir(parents=True)
    for name in ("token", "password", "ssh-privatekey", "username", "known_hosts"):
        (forge / name).write_text(f"the-{name}\n")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "api-key").write_text("the-api-key")
    settings = Settings(git_dir=tmp_path / "git", agent_dir=tmp_path / "agent")
    expected = ["the-api-key", "the-password", "the-ssh-privatekey", "the-token"]
    assert sorted(secret_values(settings)) == expected
