"""I8: no secret in text, in whatever usual form and however the text is cut."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.redact import MASK, RedactedStream, Redactor, hide_user_info, strip_url, strip_urls

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
        ('https://u:to"ken@h/x', "https://h/x"),
        ("https://u:t?ok@h/x", "https://h/x"),
        ("https://u:t#ok@h/x", "https://h/x"),
        ("https://u:<t>@h/x", "https://h/x"),
        ("https://u:sec/ret@h/x", "https://h/x"),
        ("https://u:p@ss/word@h/x", "https://h/x"),
        ("https://u:12/34@h/x", "https://h/x"),
        ("https://u:a\u00a0b@h/x", "https://h/x"),
        ('https://h/x?a="b"c\' d', f"https://h/x?{MASK}' d"),
        ("https://h:8443/a.git, https://h/@scope/x", "https://h:8443/a.git, https://h/@scope/x"),
        ("git@host:x.git", "git@host:x.git"),
        ("fatal: '//' at https://tok%40en@h:3000/a.git/'", "fatal: '//' at https://h:3000/a.git/'"),
    ],
)
def test_urls_lose_user_information_and_query(text: str, shown: str) -> None:
    assert strip_urls(text) == shown


def test_user_information_alone_is_masked_where_the_rest_is_wanted() -> None:
    shown = hide_user_info("see https://bot:p@h/a?b=1#c and \x1b[0mssh://git@h, mail a@b.example")
    assert shown == f"see https://{MASK}@h/a?b=1#c and \x1b[0mssh://{MASK}@h, mail a@b.example"


PASSWORDS = st.text(
    st.characters(exclude_characters=" \t\n\r\f\v", exclude_categories=["Cs"]), max_size=30
)


@given(st.text(max_size=40), PASSWORDS)
def test_no_user_information_survives(before: str, password: str) -> None:
    """I8: whatever stands before the URL, and whatever a password is made of."""
    secret = f"Zq7{password}7qZ"
    for masked in (strip_urls, hide_user_info, strip_url, Redactor(()).message):
        shown = masked(f"{before}https://user:{secret}@host.example/path")
        assert "Zq7" not in shown
        assert "7qZ" not in shown


@given(st.text(max_size=200), PASSWORDS, st.text(max_size=20))
def test_a_message_shows_no_known_value_and_can_be_written(
    before: str, password: str, after: str
) -> None:
    """I8, I9: in whatever form a server repeats it, beside whatever else it writes."""
    secret = f"Zq7{password}7qZ"
    redact = Redactor([secret])
    encodable = secret.encode("utf-8", "replace")
    for form in (
        secret,
        quote(secret, safe=""),
        base64.b64encode(b"git:" + encodable).decode(),
        base64.urlsafe_b64encode(encodable).decode(),
        json.dumps(secret),
    ):
        shown = redact.message(f"{before} Authorization: Basic {form} {after}")
        assert form not in shown
        shown.encode()


def test_a_message_is_encodable_whatever_a_server_sends() -> None:
    assert Redactor(["token"]).message("bad \ud800 token") == f"bad ? {MASK}"


def test_the_longest_of_values_that_begin_alike_is_masked_whole() -> None:
    values = ["abcdefgh", "abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwxyz0123"]
    for value in values:
        assert Redactor(values)(f"<{value}>") == f"<{MASK}>"
    assert Redactor(values)("<abcdefghijklmnopqrstuvwxyz01>") == f"<{MASK}yz01>"


def cpu_seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


LOG = ('{"level":"info","message":"a line of an ordinary log"}\n' * 2000)[: 64 * 1024]


@pytest.mark.parametrize("lines", [1, 700])
def test_the_size_of_a_credential_does_not_slow_the_log_down(lines: int) -> None:
    """A flood of output costs little CPU, so that a stop is still heard: the bounds leave room
    for a busy machine."""
    line = base64.b64encode(random.Random(7).randbytes(33 * 1024 // lines)).decode()
    credential = "\n".join(line[number % 50 :] + f"{number}" for number in range(lines))
    redactor = Redactor([credential])
    assert redactor(f"<{credential}>") == f"<{MASK}>"
    assert cpu_seconds(lambda: redactor(LOG)) < 0.25
    for text in (LOG, credential[:-1] + LOG):
        stream = redactor.stream()
        assert cpu_seconds(partial(feed_often, stream, text)) < 2


def feed_often(stream: RedactedStream, text: str) -> None:
    for _ in range(16):
        stream.feed(text)


@pytest.mark.parametrize("piece", ["a", "://", "://a:b", "@://", "://a@", "?://", "\u00a0"])
def test_the_cost_of_urls_is_linear(piece: str) -> None:
    text = piece * (256 * 1024 // len(piece))
    assert cpu_seconds(lambda: (strip_urls(text), hide_user_info(text))) < 1


@given(st.text("abc", max_size=60), st.lists(st.text("abc", min_size=4, max_size=8), max_size=3))
def test_few_values_are_masked_as_among_many(text: str, values: list[str]) -> None:
    """Few values are searched in another way than many are."""
    others = [f"other-value-{number:04}" for number in range(100)]
    assert Redactor(values)(text) == Redactor([*values, *others])(text)


def test_one_key_costs_little_more_than_a_search() -> None:
    """Streams of a model pass through it: it must not be what limits them."""
    text = 'data: {"delta": {"text": "hello"}}\n\n' * 20_000
    few, many = Redactor(["sk-0123456789abcdef"]), Redactor(map("{:04}-sk-key".format, range(100)))

    def cpu_seconds(redactor: Redactor) -> float:
        began = time.process_time()
        assert redactor(text) == text
        return time.process_time() - began

    assert min(cpu_seconds(few) for _ in range(3)) < min(cpu_seconds(many) for _ in range(3)) / 5
