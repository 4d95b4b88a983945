"""All downloads for images are pinned by hash: packages of Python, editor and coding agents."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from guildnet.model_rules import PRESET_PROTOCOLS, SHELL

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "agent/Dockerfile").read_text().splitlines()
DOCKERFILE = "\n".join(x for x in LINES if not x.startswith("#")).replace("\\\n", " ")
LOCK = json.loads((ROOT / "agent/editor/package-lock.json").read_text())
AGENTS = ROOT / "agent/coding-agents"


def test_installers_require_hashes() -> None:
    installs = re.findall(r"(?:pip install|npm \w+)[^&\n]*", DOCKERFILE)
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or install.startswith("npm ci"), install


def test_npm_packages_have_hashes_and_no_urls() -> None:
    """The builder chooses the registry; the lock file fixes the content."""
    assert LOCK["packages"]["node_modules/code-server"]
    for file in (ROOT / "agent").glob("*/**/package-lock.json"):
        packages = {name: e for name, e in json.loads(file.read_text())["packages"].items() if name}
        assert packages, file
        for name, entry in packages.items():
            assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", entry["integrity"]), name
            assert "resolved" not in entry, name


@pytest.mark.parametrize("agent", [preset for preset in PRESET_PROTOCOLS if preset != SHELL])
def test_the_program_of_each_preset_is_pinned_without_scripts(agent: str) -> None:
    wanted = json.loads((AGENTS / agent / "package.json").read_text())
    locked = json.loads((AGENTS / agent / "package-lock.json").read_text())["packages"][""]
    for kind in ("dependencies", "optionalDependencies"):
        assert wanted.get(kind) == locked.get(kind)
    versions = {**wanted.get("dependencies", {}), **wanted.get("optionalDependencies", {})}
    assert versions
    assert all(re.search(r"(^|@)\d+\.\d+\.\d+", version) for version in versions.values())
    assert "npm ci --ignore-scripts" in (AGENTS / "install.sh").read_text()


def test_only_allowed_packages_run_install_scripts() -> None:
    wanted = json.loads((ROOT / "agent/editor/package.json").read_text())
    assert wanted["dependencies"] == LOCK["packages"][""]["dependencies"]
    scripted = {
        name.removeprefix("node_modules/")
        for name, entry in LOCK["packages"].items()
        if entry.get("hasInstallScript")
    }
    assert set(wanted["allowScripts"]) == scripted
