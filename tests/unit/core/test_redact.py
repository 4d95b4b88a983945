"""I8: no secret in text, in whatever usual form and however the text is cut."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.redact import MASK, Redactor, hide_user_info, strip_urls

SECRET = "s3cr3t/+tök en=="


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower().replace("s3cr3t", "s3cr3t"),
    ],
)
def test_every_form_is_masked(form: str) -> None:
    assert Redactor([SECRET])(f"before {form} after") == f"before {MASK} after"


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "x-access-token"])
def test_base64_of_user_and_token_does_not_show_the_token(user: str) -> None:
    token = "ghp_abcdefghijklmnop"
    header = base64.b64encode(f"{user}:{token}".encode()).decode()
    shown = Redactor([token])(header)
    assert MASK in shown
    assert len(header) - len(shown.replace(MASK, "")) >= len(token) * 8 // 6 - 2


@pytest.mark.parametrize("secret", ['quote"and\\slash', "tök en-123", "first line\nsecond line"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_secret_in_json_is_masked(secret: str, ascii_only: bool) -> None:
    """I8: artifacts and logs are JSON, which writes quotes, line breaks and accents otherwise."""
    line = json.dumps({"said": f"token {secret}."}, ensure_ascii=ascii_only)
    assert Redactor([secret])(line) == json.dumps({"said": f"token {MASK}."})


def test_each_line_of_a_key_file_is_masked() -> None:
    key = "-----BEGIN KEY-----\nabcdefghijkl\nmnopqrstuvwx\n-----END KEY-----\n"
    shown = Redactor([key])("line mnopqrstuvwx of it")
    assert shown == f"line {MASK} of it"


def test_short_and_empty_values_leave_text_alone() -> None:
    text = "the quick brown fox"
    assert Redactor(["", " ", "fox"])(text) == text
    assert Redactor([])(text) == text


@given(
    secret=st.text(alphabet="abc", min_size=4, max_size=9),
    before=st.text(alphabet="abc", max_size=12),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
def test_a_stream_shows_what_the_whole_would(secret: str, before: str, cuts: list[int]) -> None:
    text = before + secret + "-" + secret[:-1]
    redactor = Redactor([secret])
    stream = redactor.stream()
    at = 0
    shown = ""
    for cut in [*sorted(min(cut, len(text)) for cut in cuts), len(text)]:
        shown += stream.feed(text[at:cut])
        at = cut
    shown += stream.flush()
    assert shown == redactor(text)
    assert secret not in shown


def test_a_stream_holds_back_only_what_may_be_a_secret() -> None:
    stream = Redactor(["topsecret"]).stream()
    assert stream.feed("hello tops") == "hello "
    assert stream.feed("ide") == "topside"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: https://u:p@h.example/a.git/ x", "fatal: https://h.example/a.git/ x"),
        ("https://h/a?token=1#frag end", f"https://h/a?{MASK} end"),
        ("'ssh://git@h:22/a'", "'ssh://h:22/a'"),
        ("no url: a@b?c", "no url: a@b?c"),
        ("\x1b[31mhttps://u:p@h/a", "\x1b[31mhttps://h/a"),
        ("REPO_https://u:p@h/a 1https://u:p@h/", "REPO_https://h/a 1https://h/"),
        ("https://me@corp.example:p@h/a", "https://h/a"),
        ("https://u:it's@h/a", "https://h/a"),
        ("https://h/a b@c.example", "https://h/a b@c.example"),
        ("https://proxy/https://u:p@h/a", "https://proxy/https://h/a"),
    ],
)
def test_urls_lose_user_information_and_query(text: str, shown: str) -> None:
    assert strip_urls(text) == shown


def test_user_information_alone_is_masked_where_the_rest_is_wanted() -> None:
    shown = hide_user_info("see https://bot:p@h/a?b=1#c and \x1b[0mssh://git@h, mail a@b.example")
    assert shown == f"see https://{MASK}@h/a?b=1#c and \x1b[0mssh://{MASK}@h, mail a@b.example"


@given(st.text(max_size=40), st.from_regex(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,30}", fullmatch=True))
def test_no_user_information_survives(before: str, user: str) -> None:
    """I8: whatever stands before the URL, and whatever RFC 3986 allows in it and people add."""
    secret = f"{user}Zq7"
    for shown in (strip_urls, hide_user_info):
        assert "Zq7" not in shown(f"{before}https://{secret}@host.example/path")
