"""What lock files pin, and what a Dockerfile installs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from release.images import named_packages
from release.locks import Package, debian_packages, go_modules, npm_packages, python_packages

A, B = "a" * 64, "b" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_python_lock_gives_what_linux_installs(file: Path) -> None:
    file.write_text(
        f"# a comment\nSome_Name==1.2 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n"
        f"    # via other\nwin==1 ; sys_platform == 'win32' \\\n    --hash=sha256:{A}\n"
        f"nix==2 ; os_name == 'posix' \\\n    --hash=sha256:{B}\n"
    )
    assert python_packages(file) == [
        Package("pypi", "some-name", "1.2", (("SHA-256", A), ("SHA-256", B))),
        Package("pypi", "nix", "2", (("SHA-256", B),)),
    ]


def test_an_npm_lock_gives_each_version_once_and_nothing_of_development(file: Path) -> None:
    entry = {
        "version": "1.0.0",
        "integrity": "sha512-" + base64.b64encode(b"\1" * 64).decode(),
        "license": "MIT",
    }
    packages = {
        "": {"name": "root"},
        "node_modules/@scope/a": entry,
        "node_modules/b/node_modules/@scope/a": entry,
        "node_modules/b": {"version": "2.0.0"},
        "node_modules/c": {"version": "3.0.0", "dev": True},
        "node_modules/alias": {"name": "d", "version": "4.0.0"},
    }
    file.write_text(json.dumps({"packages": packages}))
    assert npm_packages(file) == [
        Package("npm", "@scope/a", "1.0.0", (("SHA-512", "01" * 64),), "MIT"),
        Package("npm", "b", "2.0.0"),
        Package("npm", "d", "4.0.0"),
    ]


def test_a_go_mod_gives_direct_and_indirect_modules(file: Path) -> None:
    file.write_text(
        "module guildnet.io/x\n\ngo 1.26.6\n\ntool (\n\texample.com/cmd/tool\n)\n\n"
        "require example.com/a/v2 v2.0.1\n\nrequire (\n\tgithub.com/b/c v0.1.0 // indirect\n)\n"
    )
    assert go_modules(file) == [
        Package("golang", "example.com/a/v2", "v2.0.1"),
        Package("golang", "github.com/b/c", "v0.1.0"),
    ]


def test_a_dpkg_status_gives_installed_packages_only(file: Path) -> None:
    gone = "Package: old\nStatus: deinstall ok config-files\nVersion: 1\n"
    file.write_text(
        f"Package: git\nStatus: install ok installed\nVersion: 1:2.39\nDescription: x\n y\n\n{gone}"
    )
    assert debian_packages(file) == [Package("deb", "git", "1:2.39")]
    file.write_text(gone)
    with pytest.raises(ValueError, match="lists no installed package"):
        debian_packages(file)


def test_a_stage_has_the_packages_of_those_below_it() -> None:
    install = "RUN apt-get install -y --no-install-recommends"
    dockerfile = (
        f"ARG BASE=debian\nFROM ${{BASE}} AS runtime\n{install} git ssh \\\n && true\n"
        f"FROM runtime AS tools\n{install} gcc\nFROM runtime AS top\n{install} gpg\n"
    )
    assert [package.name for package in named_packages(dockerfile, "top")] == ["gpg", "git", "ssh"]
