"""One field of a task's file is set; every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.errors import ConfigurationError, InvalidResource
from guildnet.loading import load_task
from guildnet.resources import Source
from guildnet_cli.repository.task_file import git_contexts, new_task, with_spec_field

PATH = "tasks/acme/fix.yaml"
HEAD = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: fix}\n"
SPECS = [
    "spec:\n  prompt: x\n",
    "spec: {prompt: x}\n",
    "spec:\n    prompt: |\n      many\n      lines\n    # the end\n",
    "spec:\n  # first\n  prompt: x  # why\n  rerun: old # again\n  cancel: false\n",
    "spec:\n  rerun:   'quoted: # not a comment'\n  prompt: 'ü'\n",
    '"spec":\n  "prompt": "x"\n',
    "spec:\n  prompt: x\n\n\n# trailing\n",
    "spec:\n  prompt:\tx\n",
    "spec:\r\n  prompt: \u4fee\r\n",
]
# A YAML file cannot contain a NUL or half a surrogate pair.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@pytest.mark.parametrize("spec", SPECS)
@given(value=WORDS)
def test_rerun_is_set_to_any_text(spec: str, value: str) -> None:
    before = load_task((HEAD + spec).encode(), Source(PATH))
    edited = with_spec_field((HEAD + spec).encode(), PATH, "rerun", value)
    after = load_task(edited, Source(PATH))
    assert after.spec == {**before.spec, "rerun": value}
    kept = [line for line in spec.splitlines() if "rerun" not in line and "{" not in line]
    assert all(line in edited.decode() for line in kept)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("key", ["cancel", "suspend"])
def test_a_boolean_is_set_and_unset(spec: str, key: str) -> None:
    text = (HEAD + spec).encode()
    on = with_spec_field(text, PATH, key, True)
    assert load_task(on, Source(PATH)).spec[key] is True
    off = with_spec_field(on, PATH, key, False)
    assert load_task(off, Source(PATH)).spec[key] is False
    assert with_spec_field(on, PATH, key, True) == on
    assert len(on.splitlines()) - len(text.splitlines()) in (0, 1)


def test_an_edit_that_would_change_more_is_refused() -> None:
    """I1: the user edits such a file by hand."""
    text = (HEAD + "spec:\n  prompt: x\n  rerun: |\n    a\n    b\n  cancel: false\n").encode()
    try:
        edited = with_spec_field(text, PATH, "rerun", "new")
    except (ConfigurationError, InvalidResource):
        return
    spec = load_task(edited, Source(PATH)).spec
    assert spec == {"prompt": "x", "rerun": "new", "cancel": False}


def test_an_invalid_value_is_not_written() -> None:
    with pytest.raises(InvalidResource, match=r"spec\.rerun: longer than 256"):
        with_spec_field((HEAD + SPECS[0]).encode(), PATH, "rerun", "x" * 300)


@given(WORDS.filter(bool))
def test_a_new_task_has_the_prompt_unchanged(prompt: str) -> None:
    path, content = new_task("acme", "fix", {"prompt": prompt})
    assert path == PATH
    assert load_task(content, Source(path)).spec == {"prompt": prompt}


@pytest.mark.parametrize(
    ("given_text", "name", "git"),
    [
        ("https://h/acme/Web.git", "web", {"url": "https://h/acme/Web.git"}),
        ("w=https://h/x#dev", "w", {"url": "https://h/x", "ref": "dev"}),
        ("https://h/x?a=b", "x?a=b", {"url": "https://h/x?a=b"}),
        ("ssh://h:22/a/b/", "b", {"url": "ssh://h:22/a/b/"}),
    ],
)
def test_the_default_name_of_a_context_is_the_repositorys(
    given_text: str, name: str, git: dict[str, str]
) -> None:
    assert git_contexts([given_text]) == [{"name": name, "git": git}]


def test_a_url_without_a_repository_name_is_refused() -> None:
    with pytest.raises(InvalidResource, match="has no repository name"):
        git_contexts(["///"])


def test_a_byte_order_mark_is_kept() -> None:
    text = b"\xef\xbb\xbf" + (HEAD + "spec:\n  prompt: \u4fee\n  cancel: false\n").encode()
    assert with_spec_field(text, PATH, "cancel", True) == text.replace(b"false", b"true")


def test_json_that_is_indented_by_tabs_is_edited() -> None:
    text = (
        b'{\n\t"apiVersion": "guildnet.io/v1alpha1",\n\t"kind": "Task",\n'
        b'\t"metadata": {"name": "fix"},\n\t"spec": {\n\t\t"prompt": "x"\n\t}\n}\n'
    )
    edited = with_spec_field(text, PATH, "rerun", "v1")
    assert load_task(edited, Source(PATH)).spec == {"prompt": "x", "rerun": "v1"}
