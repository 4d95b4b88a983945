"""I9, I10: YAML is read as it is written, or refused with the line of the problem."""

from __future__ import annotations

import pytest

from guildnet.errors import InvalidResource
from guildnet.loading import load_task, parse_yaml
from guildnet.resources import Source

PATH = "tasks/acme/fix.yaml"
GOOD = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: fix}\nspec:\n  prompt: x\n"


def problem(data: str | bytes) -> str:
    with pytest.raises(InvalidResource) as refused:
        load_task(data if isinstance(data, bytes) else data.encode(), Source(PATH))
    return str(refused.value.problems[0])


def test_a_byte_order_mark_is_not_part_of_the_first_key() -> None:
    assert load_task(b"\xef\xbb\xbf" + GOOD.encode(), Source(PATH)).name == "fix"


def test_lines_count_the_same_with_carriage_returns() -> None:
    message = problem((GOOD + "  retries: many\n").replace("\n", "\r\n"))
    assert message == f"{PATH}:6: spec.retries: 'many' is not of type integer"


@pytest.mark.parametrize(
    ("character", "name"),
    [
        *[("\0", "U+0000"), ("\x07", "U+0007"), ("\x7f", "U+007F"), ("\x85", "U+0085")],
        *[("\u2028", "U+2028"), ("\u2029", "U+2029"), ("\ufffe", "U+FFFE")],
    ],
)
def test_characters_outside_yaml_are_refused_with_their_line(character: str, name: str) -> None:
    """YAML 1.1 counts line breaks that no editor shows: later line numbers would be wrong."""
    message = problem(GOOD + f"  rerun: |\n    a{character}b\n")
    assert message.startswith(f"{PATH}:7: not valid YAML: {name} ")


def test_the_same_characters_may_come_by_escape() -> None:
    text = GOOD + '  rerun: "a\\u2028b\\x07"\n'
    assert load_task(text.encode(), Source(PATH)).spec["rerun"] == "a\u2028b\x07"


@pytest.mark.parametrize("escape", ["\\0", "\\x00", "\\u0000"])
def test_a_nul_by_escape_is_refused(escape: str) -> None:
    """A prompt with one could be neither an argument nor an environment variable."""
    assert problem(GOOD + f'  rerun: "a{escape}b"\n').startswith(f"{PATH}:6: a text with a NUL")


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff"])
def test_half_a_surrogate_pair_by_escape_is_refused(escape: str) -> None:
    """No status, record or digest could be encoded with one."""
    assert problem(GOOD + f'  rerun: "a{escape}b"\n').startswith(f"{PATH}:6: ")


@pytest.mark.parametrize(
    ("key", "as_text"), [("1", "1"), ("yes", "yes"), ("null", "null"), ("1:30", "1:30")]
)
def test_keys_are_words_whatever_they_look_like(key: str, as_text: str) -> None:
    assert parse_yaml(f"{key}: a\n".encode(), PATH)[0] == {as_text: "a"}


def test_a_tag_on_a_key_is_refused_like_any_other() -> None:
    assert problem("!!python/name:os.system a: 1\n").startswith(f"{PATH}:1: the tag")


def test_merge_keys_merge_nothing() -> None:
    assert "unknown field '<<'" in problem(GOOD + "  <<: {retries: 3}\n")


def test_a_bomb_of_aliases_is_refused_at_its_first_anchor() -> None:
    text = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    assert problem(text).startswith(f"{PATH}:1: anchors and aliases")


@pytest.mark.parametrize("written", ["1e1", "2.0", "1.5"])
def test_whole_numbers_are_written_as_such(written: str) -> None:
    """I4: the API server gives 2.0 back as 2, which would look like drift for ever."""
    assert problem(GOOD + f"  retries: {written}\n").endswith("is not of type integer")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("  rerun: 12\n", "spec.rerun: 12 is not of type string; put it in quotes"),
        ("  rerun: true\n", "spec.rerun: true is not of type string; put it in quotes"),
        ("  rerun:\n", "spec.rerun: null is not of type string"),
        ("  suspend: yes\n", "spec.suspend: 'yes' is not of type boolean; write true or false"),
        ("  retries: -1\n", "spec.retries: -1 is out of bounds: at least 0"),
        ("  agent: {command: []}\n", "spec.agent.command: must not be empty"),
    ],
)
def test_a_message_says_what_to_write_instead(more: str, message: str) -> None:
    assert problem(GOOD + more) == f"{PATH}:6: {message}"


def test_a_label_that_servers_reject_is_refused_with_its_line() -> None:
    text = GOOD.replace("{name: fix}", "\n  name: fix\n  labels:\n    team: web\n    no good: x")
    message = f"{PATH}:7: metadata.labels.no good: 'no good' is not a Kubernetes label's key"
    assert problem(text) == message


def test_a_node_selector_that_servers_reject_is_refused() -> None:
    message = problem(GOOD + "  agent: {nodeSelector: {a b: x}}\n")
    assert (
        message == f"{PATH}:6: spec.agent.nodeSelector.a b: 'a b' is not a Kubernetes label's key"
    )


def test_a_credential_in_a_url_is_not_repeated() -> None:
    """I8: the message goes to the status branch, the log and the pages."""
    url = "https://bot:hunter2@git.example/web.git?token=hunter2"
    message = problem(GOOD + f"  context: [{{name: web, git: {{url: '{url}'}}}}]\n")
    assert "hunter2" not in message
    assert "git.example/web.git" in message
    assert message.endswith("is not an http, https or ssh URL without user information")


def test_the_value_of_a_variable_is_not_repeated() -> None:
    """I8."""
    message = problem(GOOD + "  agent: {env: [{name: TOKEN, value: 8675309}]}\n")
    assert "8675309" not in message
    assert message.endswith("the value is not of type string; put it in quotes")
