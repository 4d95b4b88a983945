"""The shim copies artifacts while the command writes them; an invalid one may become valid."""

from __future__ import annotations

from pathlib import Path

from guildnet.agent_api.artifacts import MAX_ARTIFACT_BYTES
from guildnet.redact import Redactor
from guildnet_agent.shim.artifacts import ArtifactCopier


def test_a_link_that_becomes_a_file_is_copied(tmp_path: Path) -> None:
    """I6: an artifact that was invalid at first is copied once it is valid."""
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


def test_a_rejected_name_that_grows_too_large_is_reported_as_too_large(tmp_path: Path) -> None:
    """I9."""
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
