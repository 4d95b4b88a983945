"""A git Secret is used only for the hosts that its owner named, and in the clear only where the
owner said so (I8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.secrets import entry_for, host_of, is_allowed_url, refusal


@pytest.mark.parametrize(
    ("url", "entries", "allowed"),
    [
        ("https://git.example/a/b.git", ["git.example"], True),
        ("https://GIT.example:443/a/b.git", ["Git.Example"], True),
        ("https://git.example:8443/a", ["git.example"], False),
        ("https://git.example:8443/a", ["other", "git.example:8443"], True),
        ("https://git.example.evil/a", ["git.example"], False),
        ("https://git.example@evil/a", ["git.example"], False),
        ("ssh://git.example/a", ["git.example"], True),
        ("ssh://git.example:2222/a", ["git.example"], False),
        ("ssh://git.example:2222/a", ["git.example:2222"], True),
        ("https://[2001:db8::1]:8443/a", ["[2001:db8::1]:8443"], True),
        ("http://git.example/a", ["git.example"], False),
        ("http://git.example/a", ["https://git.example"], False),
        ("http://git.example/a", ["http://git.example"], True),
        ("http://git.example:3000/a", ["http://git.example"], False),
        ("http://git.example:3000/a", ["http://git.example:3000"], True),
        ("https://git.example/a", ["http://git.example"], True),
        ("http://127.0.0.1:3000/a", ["127.0.0.1:3000"], True),
        ("http://[::1]:3000/a", ["[::1]:3000"], True),
        ("http://10.0.0.1:3000/a", ["10.0.0.1:3000"], False),
        ("https://git.example/a", [], False),
        ("https://git.example/a", ["", " ", "://", "ftp://git.example", "git.example:x"], False),
        ("https://[::1/a", ["[::1"], False),
        ("https://git.example:99999/a", ["git.example:99999"], False),
    ],
)
def test_a_secret_is_used_only_for_the_hosts_in_its_annotation(
    url: str, entries: list[str], allowed: bool
) -> None:
    assert is_allowed_url(url, entries) is allowed


@pytest.mark.parametrize(
    "url", ["http://h:3000/a", "https://h/a", "ssh://h:22/a", "https://[::1]/"]
)
def test_the_entry_that_is_advised_allows_the_url(url: str) -> None:
    assert is_allowed_url(url, [entry_for(url)])


@pytest.mark.parametrize("url", ["https://[::1/x", "https://h:99999/", "https:///x", "nothing"])
def test_an_invalid_host_or_port_raises_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        host_of(url)


@given(st.text(), st.lists(st.text()))
def test_any_text_gets_an_answer(url: str, entries: list[str]) -> None:
    assert is_allowed_url(url, entries) in (True, False)


@pytest.mark.parametrize(
    "url",
    ["https://u:pa55w0rd@h:99999/x", "https://u:pa55w0rd@[::1/x", "https://u:pa55w0rd@h\u2100/x"],
)
def test_a_url_that_cannot_be_parsed_is_an_invalid_spec_and_is_not_quoted(url: str) -> None:
    """I8: the library's own error would quote the URL."""
    found = refusal("acme", "forge", url, ["h", "h:99999"])
    assert found is not None
    assert found.reason == "InvalidSpec"
    assert "pa55w0rd" not in found.message


def test_a_refusal_names_the_host_and_a_command_that_keeps_the_other_hosts() -> None:
    found = refusal("acme", "forge", "http://git.example:3000/a", ["other.example"])
    assert found is not None
    assert found.reason == "PolicyDenied"
    assert "for http://git.example:3000 (its hosts: other.example)" in found.message
    assert found.cure.endswith(
        "guildnet secret set acme forge --use git "
        "--host other.example --host http://git.example:3000"
    )
