"""`guildnet validate` lists every problem at once, each with its file and line."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet, StateRepository

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: t}}]
"""
HEAD = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: bad}\nspec:\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8)
)
BAD = {
    "invalid YAML": (HEAD + "  prompt: [unclosed\n", ":6: not valid YAML"),
    "unknown field": (
        HEAD + "  prompt: x\n  promt: y\n",
        ":6: spec: unknown field 'promt'; did you mean 'prompt'?",
    ),
    "duplicate key": (HEAD + "  prompt: x\n  prompt: y\n", ":6: duplicate key 'prompt'"),
    "wrong name": (
        HEAD.replace("bad", "other") + "  prompt: x\n",
        ":3: metadata.name is 'other'; the file's name says 'bad'",
    ),
    "anchor bomb": (BOMB, ":1: anchors and aliases are not supported"),
    "10 MB": (HEAD + "  prompt: " + "x" * 10_000_000 + "\n", "bytes; at most 262,144 are read"),
    "a password in a URL": (
        HEAD
        + "  prompt: x\n  context:\n    - {name: a, git: {url: 'https://u:p@git.example/a'}}\n",
        ":7: spec.context[0].git.url:",
    ),
    "two documents": (HEAD + "  prompt: x\n---\na: 1\n", ":6: more than one document"),
    "nothing": ("", ":1: the file is empty"),
    "a list": ("- 1\n", ":1: "),
    "not text": ("\x00\x01", "not valid YAML"),
    "no spec": (
        "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: bad}\n",
        ":1: missing field 'spec'",
    ),
}


def test_each_invalid_file_is_reported_with_its_line_and_hides_no_other(
    guildnet: Guildnet, state: StateRepository
) -> None:
    """I10: cause and place. I1: the files are not changed."""
    files = {f"tasks/o{number}/bad.yaml": text for number, (text, _) in enumerate(BAD.values())}
    orgs = {
        f"orgs/o{number}.yaml": state.read("orgs/acme.yaml").replace("acme", f"o{number}")
        for number in range(len(BAD))
    }
    state.write({**files, **orgs, "tasks/acme/good.yaml": state.task("good")})
    answer = guildnet("validate", str(state.root))
    assert answer.code == 1
    for number, (name, (_, message)) in enumerate(BAD.items()):
        place = f"tasks/o{number}/bad.yaml"
        lines = [line for line in answer.out.splitlines() if line.startswith(place)]
        assert any(message in line for line in lines), (name, lines)
    assert "good.yaml" not in answer.out
    assert len(answer.out) < 8000
    assert all(state.read(path) == text for path, text in files.items())


def test_all_problems_of_all_files_are_listed(guildnet: Guildnet, state: StateRepository) -> None:
    state.write(
        {
            "tasks/acme/one.yaml": HEAD.replace("bad", "one") + "  retries: -1\n  promt: x\n",
            "tasks/acme/Two.yaml": state.task("two"),
            "tasks/acme/three.yaml": state.task("three") + "  dependsOn: [nobody]\n",
            "tasks/ghost/four.yaml": state.task("four"),
            "orgs/broken.yaml": "kind: Org\n",
        }
    )
    answer = guildnet("validate", "-o", "json", cwd=state.root)
    assert answer.code == 1
    printed = json.loads(answer.out)
    assert printed["valid"] is False
    places = {(p["path"], p["line"]) for p in printed["problems"]}
    assert {
        ("tasks/acme/one.yaml", 4),
        ("tasks/acme/one.yaml", 5),
        ("tasks/acme/one.yaml", 6),
        ("tasks/acme/Two.yaml", 0),
        ("tasks/ghost/four.yaml", 0),
        ("orgs/broken.yaml", 1),
    } <= places
    assert any("nobody" in p["message"] for p in printed["problems"])


def test_a_symlink_is_never_followed(guildnet: Guildnet, state: StateRepository) -> None:
    """I9: every path stays under its root."""
    secret = state.root.parent / "secret.yaml"
    secret.write_text("password: hunter2\n")
    (state.root / "tasks/acme").mkdir(parents=True)
    (state.root / "tasks/acme/link.yaml").symlink_to(secret)
    answer = guildnet("validate", cwd=state.root)
    assert answer.code == 1
    assert "tasks/acme/link.yaml" in answer.out
    assert "symlink" in answer.out
    assert "hunter2" not in answer.out + answer.err


@pytest.mark.parametrize("folder", ["tasks", "tasks/acme", "orgs"])
def test_a_linked_folder_is_not_followed(
    guildnet: Guildnet, state: StateRepository, folder: str
) -> None:
    """I9: neither reads nor writes follow a link, at any level."""
    outside = state.root.parent / "outside"
    outside.mkdir()
    (outside / "hunter2.yaml").write_text("kind: Config\npassword: hunter2\n")
    place = state.root / folder
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside)
    answer = guildnet("validate", cwd=state.root)
    assert answer.code == 1
    assert f"{folder}: a symlink in place of a folder" in answer.out
    assert "hunter2" not in answer.out + answer.err
    kubeconfig = state.root.parent / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    for verb in (
        ("task", "new", "acme/x", "--prompt", "x"),
        ("task", "cancel", "acme/hunter2"),
        ("org", "add", "other", "--kubeconfig", str(kubeconfig)),
        ("init", str(state.root)),
    ):
        answer = guildnet(*verb, cwd=state.root)
        assert verb[0] in ("org", "init") or answer.code == 1
    assert [file.name for file in outside.iterdir()] == ["hunter2.yaml"]


@pytest.mark.parametrize("folder", [".", "tasks"])
def test_a_folder_that_is_not_a_state_repository_is_not_valid(
    guildnet: Guildnet, state: StateRepository, folder: str
) -> None:
    """Such as a wrong working directory in CI."""
    root = state.root if folder == "tasks" else state.root.parent / "empty"
    (root / folder).mkdir(parents=True, exist_ok=True)
    answer = guildnet("validate", cwd=root / folder)
    assert answer.code == 1
    assert "neither orgs/ nor tasks/" in answer.err


@pytest.mark.parametrize("attributes", [".gitattributes", "tasks/acme/.gitattributes"])
def test_files_are_read_as_staged_not_as_a_filter_writes_them(
    guildnet: Guildnet, state: StateRepository, attributes: str
) -> None:
    """LFS and git-crypt: the reconciler reads what is committed."""
    pointer = "version https://git-lfs.github.com/spec/v1"
    state.git("config", "filter.lfs.clean", f"cat > /dev/null; echo '{pointer}'")
    state.git("config", "filter.lfs.smudge", "cat")
    state.write({attributes: "*.yaml filter=lfs\n", "tasks/acme/big.yaml": state.task("big")})
    answer = guildnet("validate", cwd=state.root)
    assert answer.code == 1
    assert "tasks/acme/big.yaml: a git filter rewrites it; `git add` it" in answer.out
    state.git("add", "--all")
    answer = guildnet("validate", cwd=state.root)
    assert answer.code == 1
    assert "tasks/acme/big.yaml:1: a Git LFS pointer" in answer.out


def test_a_filter_that_changes_nothing_is_accepted(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.git("config", "filter.tidy.clean", "cat")
    state.commit({".gitattributes": "*.yaml filter=tidy\n", "tasks/acme/a.yaml": state.task("a")})
    assert guildnet("validate", cwd=state.root).code == 0


def test_github_annotations_have_file_and_line(guildnet: Guildnet, state: StateRepository) -> None:
    state.write({"tasks/acme/bad.yaml": HEAD + "  promt: 100%\n"})
    answer = guildnet("validate", "-o", "github", cwd=state.root)
    assert answer.code == 1
    assert "::error file=tasks/acme/bad.yaml,line=5::" in answer.out
    assert all(line.startswith("::error file=") for line in answer.out.splitlines())


def test_a_valid_repository(guildnet: Guildnet, state: StateRepository) -> None:
    state.write({"tasks/acme/good.yaml": state.task("good")})
    answer = guildnet("validate", cwd=state.root)
    assert (answer.code, answer.out, answer.err) == (0, "", "valid, 2 files read\n")


def test_a_missing_folder_is_an_error(guildnet: Guildnet) -> None:
    answer = guildnet("validate", "nowhere")
    assert answer.code == 1
    assert "nowhere: no such folder" in answer.err


def test_every_missing_dependency_has_its_own_line(
    guildnet: Guildnet, state: StateRepository
) -> None:
    names = "".join(f"    - t{number}\n" for number in range(64))
    state.write({"tasks/acme/many.yaml": state.task("many") + "  dependsOn:\n" + names})
    first = state.read("tasks/acme/many.yaml").splitlines().index("    - t0") + 1
    answer = guildnet("validate", cwd=state.root)
    assert answer.code == 1
    for number in range(64):
        place = f"tasks/acme/many.yaml:{first + number}: spec.dependsOn[{number}]"
        assert f"{place}: the org has no task 't{number}'" in answer.out
