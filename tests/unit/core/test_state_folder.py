"""Every component finds the state folder, and a kubeconfig in it, by the same rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from guildnet.state_folder import kubeconfig_path, state_folder
from guildnet_devcluster.layout import clusters_folder
from guildnet_reconciler.settings import Settings


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "home/.guildnet/state"),
        ("", "home/.guildnet/state"),
        ("~/elsewhere", "home/elsewhere"),
        ("relative", "relative"),
    ],
)
def test_the_state_folder_is_an_absolute_path(
    value: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GUILDNET_STATE_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("GUILDNET_STATE_DIR", value)
    assert state_folder() == tmp_path / expected
    assert clusters_folder() == tmp_path / expected / "devcluster"
    settings = Settings(repo="https://git.example/state")
    assert settings.kubeconfig_path("acme") == kubeconfig_path("acme")
