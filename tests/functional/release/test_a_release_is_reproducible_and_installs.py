"""`make release`: two builds of a commit are equal, and the wheel works outside a checkout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from release.contents import release
from tests.helm import Helm, Values, program

from guildnet import __version__
from guildnet_operator.settings import DEFAULT_IMAGE, DEFAULT_MESH_IMAGE, DEFAULT_WORK_IMAGE

ROOT = Path(__file__).parents[3]
WHEEL = f"guildnet-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def commit() -> str:
    """What is in the checkout, also what is not committed yet: the other files are read there."""
    identity = ["-c", "user.name=A Tester", "-c", "user.email=tester@example.com"]
    command = ["git", *identity, "stash", "create"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip() or "HEAD"


def _make(into: Path, commit: str, umask: int) -> Path:
    """A release by a process of its own, as `make release` runs it."""
    command = [sys.executable, "-m", "release", "--into", str(into), "--commit", commit]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, umask=umask)
    return into


@pytest.fixture(scope="module")
def made(commit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("release") / "dist", commit, 0o022)


@pytest.fixture(scope="module")
def installed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel alone; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = ["--python", str(folder / "bin/python"), "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, *install, str(made / WHEEL)], check=True)
    return folder


def _run(installed: Path, folder: Path, program: str, *arguments: str) -> str:
    # PYTHONPATH gives the dependencies; it does not follow the .pth of the editable install.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(
        [str(installed / "bin" / program), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _bill(made: Path, name: str) -> Any:
    return json.loads((made / name).read_text())


def test_two_builds_of_a_commit_are_equal_byte_for_byte(
    made: Path, commit: str, tmp_path: Path
) -> None:
    again = _make(tmp_path / "dist", commit, 0o077)
    first, second = ({f.name: f.read_bytes() for f in d.iterdir()} for d in (made, again))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert {WHEEL, f"guildnet-{__version__}.tar.gz"} < first.keys()


def test_the_checksums_cover_every_other_file(made: Path) -> None:
    lines = (made / "SHA256SUMS").read_text().splitlines()
    given = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {f.name: f for f in made.iterdir() if f.name != "SHA256SUMS"}
    assert given == {n: hashlib.sha256(f.read_bytes()).hexdigest() for n, f in files.items()}


def test_the_wheel_works_outside_a_checkout(installed: Path, tmp_path: Path) -> None:
    assert __version__ in _run(installed, tmp_path, "guildnet", "--version")
    _run(installed, tmp_path, "guildnet", "init", "state")
    _run(installed, tmp_path, "guildnet", "validate", "state")
    assert "CustomResourceDefinition" in _run(installed, tmp_path, "guildnet", "schema", "crd")
    code = """
import guildnet
from guildnet import schema
from guildnet_dashboard import rendering
from guildnet_devcluster.components import MODULES
print(guildnet.__file__, len(list(MODULES.glob("*/go.mod"))))
print(len(list(rendering._PACKAGE.glob("templates/*.html"))))
"""
    place, pages = _run(installed, tmp_path, "python", "-c", code).splitlines()
    assert place.startswith(str(installed))
    modules = ROOT / "devcluster/guildnet_devcluster/modules"
    assert int(place.split()[-1]) == len(list(modules.glob("*/go.mod")))
    templates = ROOT / "dashboard/guildnet_dashboard/templates"
    assert int(pages) == len(list(templates.glob("*.html"))) > 0


def test_bills_are_valid_and_hold_what_the_locks_pin(made: Path) -> None:
    for file in made.glob("*.cdx.json"):
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    wheel = _bill(made, f"{WHEEL}.cdx.json")
    digest = hashlib.sha256((made / WHEEL).read_bytes()).hexdigest()
    assert wheel["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    kopf = next(c for c in wheel["components"] if c["name"] == "kopf")
    hashes = {h["content"] for h in kopf["externalReferences"][0]["hashes"]}
    lock = (ROOT / "requirements-image.lock").read_text()
    assert kopf["version"] == metadata.version("kopf")
    assert f"\nkopf=={kopf['version']} " in lock
    assert hashes
    assert all(f"--hash=sha256:{digest}" in lock for digest in hashes)
    assert {"license": {"id": "MIT"}} in kopf["licenses"]
    kinds = {
        image: {
            c["purl"].split("/")[0]
            for c in _bill(made, f"{image}-{__version__}.cdx.json")["components"]
        }
        for image in ("guildnet-operator", "guildnet-work", "guildnet-mesh")
    }
    assert kinds == {
        "guildnet-operator": {"pkg:deb", "pkg:pypi"},
        "guildnet-work": {"pkg:deb", "pkg:pypi", "pkg:npm"},
        "guildnet-mesh": {"pkg:deb", "pkg:golang"},
    }


@pytest.mark.parametrize("chart", ["guildnet-operator", "guildnet"])
def test_helm_renders_a_charts_archive_as_its_folder(
    made: Path, tmp_path: Path, chart: str
) -> None:
    helm = Helm(program("helm"), tmp_path)
    with tarfile.open(made / f"guildnet-{__version__}.tar.gz") as sdist:
        sdist.extractall(tmp_path, filter="data")
    folder = tmp_path / f"guildnet-{__version__}" / "deploy/charts" / chart
    archive = made / f"{chart}-{__version__}.tgz"
    values: dict[str, Values] = {
        "guildnet": {
            "repository": {"url": "https://git.example/state.git"},
            "dashboard": {"insecure": True},
        },
        "guildnet-operator": {"org": "acme"},
    }
    rendered = [helm.run("template", "x", str(c), values=values[chart]) for c in (folder, archive)]
    assert rendered[0] == rendered[1]
    assert "kind: Deployment" in rendered[0]


def test_the_images_to_mirror_are_the_operators_defaults(made: Path) -> None:
    images = (made / "images.txt").read_text().split()
    assert images == sorted([DEFAULT_IMAGE, DEFAULT_WORK_IMAGE, DEFAULT_MESH_IMAGE])


def test_what_is_not_released_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/kept").touch()
    (tmp_path / "guildnet-operator").touch()
    with pytest.raises(ValueError, match="unknown coding agent nobody"):
        release("HEAD", tmp_path / "dist", ["nobody"])
    with pytest.raises(ValueError, match="lists no installed package"):
        release("HEAD", tmp_path / "dist", [], tmp_path)
    with pytest.raises(subprocess.CalledProcessError):
        release("no-such-commit", tmp_path / "dist")
    assert [file.name for file in (tmp_path / "dist").iterdir()] == ["kept"]
