"""CHANGELOG.md says which version this is, and from which commit each earlier one is built."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from tests.changelog import ROOT, Release, is_in_this_clone, releases

from guildnet import __version__

CHANGELOG = releases((ROOT / "CHANGELOG.md").read_text())


def test_the_first_section_is_this_version() -> None:
    assert CHANGELOG[0].version == __version__


def test_every_chart_has_this_version() -> None:
    charts = [yaml.safe_load(file.read_text()) for file in ROOT.glob("deploy/charts/*/Chart.yaml")]
    versions = {(chart["version"], chart["appVersion"]) for chart in charts}
    assert versions == {(__version__, __version__)}


@pytest.mark.parametrize("release", CHANGELOG[1:], ids=lambda release: release.version)
def test_an_earlier_release_names_a_commit_of_this_history(release: Release) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", release.commit)
    if not is_in_this_clone(release.commit):
        pytest.skip(f"{release.commit} is not in this clone: git fetch --unshallow")
    command = ["git", "-C", str(ROOT), "merge-base", "--is-ancestor", release.commit, "HEAD"]
    subprocess.run(command, check=True)
