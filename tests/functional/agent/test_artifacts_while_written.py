"""The command writes its artifacts while the shim looks: what was refused may be in order later."""

from __future__ import annotations

from pathlib import Path

from guildnet.agent_api.artifacts import MAX_ARTIFACT_BYTES
from guildnet.redact import Redactor
from guildnet_agent.shim.artifacts import ArtifactCopier


def test_a_link_that_becomes_a_file_is_copied(tmp_path: Path) -> None:
    """I6: no artifact is lost to the moment it was first looked at."""
    state, target = tmp_path / "state", tmp_path / "artifacts"
    state.mkdir()
    target.mkdir()
    copier = ArtifactCopier(state, target, Redactor(()))
    (state / "report.json").symlink_to(tmp_path / "elsewhere")
    copier.copy_changed()
    assert (target / "report.json").is_dir()
    (state / "report.json").unlink()
    (state / "report.json").write_text("{}")
    copier.copy_changed()
    assert (target / "report.json").read_text() == "{}"


def test_a_refused_name_that_grows_too_large_is_told_as_too_large(tmp_path: Path) -> None:
    """I9"""
    state, target = tmp_path / "state", tmp_path / "artifacts"
    state.mkdir()
    target.mkdir()
    copier = ArtifactCopier(state, target, Redactor(()))
    (state / "big.json").symlink_to(tmp_path / "elsewhere")
    copier.copy_changed()
    (state / "big.json").unlink()
    (state / "big.json").write_bytes(bytes(MAX_ARTIFACT_BYTES + 100))
    copier.copy_changed()
    assert (target / "big.json").stat().st_size == MAX_ARTIFACT_BYTES + 1
