"""All downloads for images are pinned by hash: Python packages, Node.js, the editor's packages."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "agent/Dockerfile").read_text().splitlines()
DOCKERFILE = "\n".join(x for x in LINES if not x.startswith("#")).replace("\\\n", " ")
LOCK = json.loads((ROOT / "agent/editor/package-lock.json").read_text())


def test_installers_require_hashes() -> None:
    installs = re.findall(r"(?:pip install|npm \w+)[^&\n]*", DOCKERFILE)
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or install.startswith("npm ci"), install


def test_editor_packages_have_hashes_and_no_urls() -> None:
    """The builder chooses the registry; the lock file fixes the content."""
    packages = {name: entry for name, entry in LOCK["packages"].items() if name}
    assert packages["node_modules/code-server"]["integrity"].startswith("sha512-")
    for name, entry in packages.items():
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", entry["integrity"]), name
        assert "resolved" not in entry, name


def test_only_allowed_packages_run_install_scripts() -> None:
    wanted = json.loads((ROOT / "agent/editor/package.json").read_text())
    assert wanted["dependencies"] == LOCK["packages"][""]["dependencies"]
    scripted = {
        name.removeprefix("node_modules/")
        for name, entry in LOCK["packages"].items()
        if entry.get("hasInstallScript")
    }
    assert set(wanted["allowScripts"]) == scripted
