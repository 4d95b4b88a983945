"""`guildnet init` creates a state repository that is valid, and overwrites nothing."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from guildnet import schema
from guildnet.loading import load_org, load_task, parse_path
from guildnet.resources import Source
from guildnet_cli.commands.init import template_folder

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet


def test_the_new_repository_is_valid(guildnet: Guildnet, tmp_path: Path) -> None:
    made = guildnet("init", "state")
    assert made.code == 0
    root = tmp_path / "state"
    assert (root / ".git").is_dir()
    head = ["git", "-C", str(root), "symbolic-ref", "HEAD"]
    assert subprocess.check_output(head, text=True) == "refs/heads/main\n"
    assert set(made.out.split()) == {
        p.relative_to(root).as_posix()
        for p in root.rglob("*")
        if p.is_file() and ".git" not in p.relative_to(root).parts[:1]
    }
    assert guildnet("validate", "state").code == 0


def test_the_first_command_of_its_readme_works(guildnet: Guildnet, tmp_path: Path) -> None:
    guildnet("init", "state")
    root = tmp_path / "state"
    text = (root / "README.md").read_text().replace("\\\n", " ")
    line = next(x for x in text.splitlines() if x.strip().startswith("guildnet task new"))
    arguments = [word for word in shlex.split(line)[1:] if word not in ("--commit", "--push")]
    assert guildnet(*arguments, cwd=root).code == 0
    assert guildnet("validate", cwd=root).code == 0


def test_without_examples_it_has_no_org(guildnet: Guildnet, tmp_path: Path) -> None:
    assert guildnet("init", "state", "--no-examples").code == 0
    assert [p.name for p in (tmp_path / "state/orgs").iterdir()] == []
    assert not (tmp_path / "state/tasks/example").exists()
    assert guildnet("validate", "state").code == 0


def test_init_overwrites_nothing(guildnet: Guildnet, tmp_path: Path) -> None:
    """I1: bad input loses nothing."""
    (tmp_path / "state").mkdir()
    readme = tmp_path / "state/README.md"
    readme.write_text("mine")
    answer = guildnet("init", "state")
    assert answer.code == 1
    assert "already there: README.md" in answer.err
    assert readme.read_text() == "mine"
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["README.md"]


def template_files() -> list[str]:
    root = template_folder()
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_the_template_has_what_a_state_repository_needs() -> None:
    assert {
        *("README.md", "CODEOWNERS", ".pre-commit-config.yaml"),
        *(".github/workflows/guildnet.yaml", ".gitea/workflows/guildnet.yaml"),
        *("schemas/org.schema.json", "schemas/task.schema.json", "orgs/example.yaml"),
    } <= set(template_files())
    assert any(path.startswith("tasks/example/") for path in template_files())


@pytest.mark.parametrize("path", template_files())
def test_every_file_of_the_template_is_valid(path: str) -> None:
    data = (template_folder() / path).read_bytes()
    identity = parse_path(path)
    if identity is not None and identity.task is None:
        assert load_org(data, Source(path)).name == "example"
    elif identity is not None:
        assert load_task(data, Source(path)).key == f"example/{identity.task}"
    elif path.endswith(".schema.json"):
        kind = path.removeprefix("schemas/").removesuffix(".schema.json")
        wanted = schema.org_schema() if kind == "org" else schema.task_schema()
        assert json.loads(data) == wanted
    elif path.endswith(".yaml"):
        assert isinstance(yaml.safe_load(data), dict)
    else:
        assert data.endswith(b"\n")


WORKFLOWS = [path for path in template_files() if "/workflows/" in path]


def workflow_steps(path: str) -> list[dict[str, Any]]:
    jobs = yaml.safe_load((template_folder() / path).read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS)
def test_workflows_pin_actions_by_commit(path: str) -> None:
    used = [step["uses"] for step in workflow_steps(path) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action


@pytest.mark.parametrize("path", WORKFLOWS)
@pytest.mark.parametrize("has_lock", [False, True])
def test_workflows_install_by_hash_or_fail_with_a_message(
    path: str, has_lock: bool, tmp_path: Path
) -> None:
    """Anyone could publish a package of that name."""
    installs = [
        step["run"]
        for step in workflow_steps(path)
        if re.search(r"\b(pip|uv|pipx)\b", step.get("run", ""))
    ]
    assert len(installs) == 2
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$@" >> asked\n')
    python.chmod(0o755)
    if has_lock:
        (tmp_path / "guildnet.lock").write_text("")
    for script in installs:
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            cwd=tmp_path,
            env={"PATH": f"{python.parent}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is has_lock
        assert ("guildnet.lock is missing" in done.stdout) is not has_lock
    asked = tmp_path / "asked"
    assert asked.exists() is has_lock
    for line in asked.read_text().splitlines() if has_lock else ():
        assert "--require-hashes" in line
        assert line.endswith("--requirement guildnet.lock")


@pytest.mark.parametrize("path", [p for p in template_files() if p.startswith(("orgs", "tasks"))])
def test_the_schema_that_a_file_names_exists(path: str) -> None:
    """The first line of a file has a relative path to its schema."""
    first = (template_folder() / path).read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    named = (template_folder() / path).parent / first.partition("$schema=")[2]
    assert named.resolve().is_relative_to(template_folder() / "schemas")
    assert named.is_file()


@pytest.mark.parametrize("kind", ["org", "task"])
def test_the_schemas_of_the_template_are_up_to_date(guildnet: Guildnet, kind: str) -> None:
    answer = guildnet("schema", kind)
    assert answer.code == 0
    assert (template_folder() / f"schemas/{kind}.schema.json").read_text() == answer.out


def test_the_committed_crd_is_up_to_date(guildnet: Guildnet) -> None:
    crds = Path(__file__).parents[3] / "crds/agenttasks.yaml"
    assert crds.read_text() == guildnet("schema", "crd", "-o", "yaml").out
    assert yaml.safe_load(crds.read_text()) == schema.crd()
