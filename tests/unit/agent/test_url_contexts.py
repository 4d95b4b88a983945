"""A URL is read from an address that was checked, and never from one of the node (I9)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import httpx
import pytest

from guildnet_agent.supervisor.contexts.url import MAX_BYTES, Network, UrlFailed, UrlSpec, read_url

PUBLIC = "93.184.216.34"


class Names:
    """Resolves names by a table: each answer in a name's list once, then the last one again."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        given = self.answers.get(host)
        if given is None:
            raise OSError(-2, "Name or service not known")
        return given.pop(0) if len(given) > 1 else given[0]


def network(
    names: Callable[[str], Awaitable[list[str]]],
    answers: Mapping[str, httpx.Response],
    sent: list[httpx.Request] | None = None,
) -> Network:
    def answer(request: httpx.Request) -> httpx.Response:
        if sent is not None:
            sent.append(request)
        name = f"{request.headers['host']}{request.url.path}"
        found = answers.get(name)
        if found is None:
            raise httpx.ConnectError("no such server", request=request)
        return found

    return Network(names, lambda url: None, httpx.MockTransport(answer))


async def test_the_connection_goes_to_the_checked_address(tmp_path: Path) -> None:
    """The name is resolved once, and is in the Host header and the certificate check."""
    names, sent = Names(site_example=[[PUBLIC], ["169.254.169.254"]]), list[httpx.Request]()
    answers = {"site.example:8443/a": httpx.Response(200, content=b"words")}
    spec = UrlSpec("https://site.example:8443/a")
    await read_url(spec, tmp_path / "a", network(names, answers, sent))
    assert (tmp_path / "a").read_bytes() == b"words"
    assert names.asked == ["site.example"]
    assert [str(request.url) for request in sent] == [f"https://{PUBLIC}:8443/a"]
    assert sent[0].headers["host"] == "site.example:8443"
    assert sent[0].extensions["sni_hostname"] == "site.example"


async def test_a_redirect_is_resolved_and_checked_again(tmp_path: Path) -> None:
    names = Names(site_example=[[PUBLIC]], inside_example=[["169.254.169.254"]])
    answers = {
        "site.example/a": httpx.Response(302, headers={"location": "http://inside.example/b"}),
        "inside.example/b": httpx.Response(200, content=b"keys of the machine"),
    }
    with pytest.raises(UrlFailed, match="link-local") as failed:
        await read_url(UrlSpec("http://site.example/a"), tmp_path / "a", network(names, answers))
    assert not failed.value.infrastructure
    assert os.listdir(tmp_path) == []


async def test_a_relative_redirect_stays_with_its_host(tmp_path: Path) -> None:
    names = Names(site_example=[[PUBLIC]])
    answers = {
        "site.example/a": httpx.Response(302, headers={"location": "/b?x=1"}),
        "site.example/b": httpx.Response(200, content=b"words"),
    }
    await read_url(UrlSpec("https://site.example/a"), tmp_path / "a", network(names, answers))
    assert (tmp_path / "a").read_bytes() == b"words"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["0.0.0.0"],
        ["169.254.169.254"],
        ["::169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
        ["64:ff9b:1::7f00:1"],
        ["fd00:ec2::254"],
        ["2002:7f00:1::"],
        ["224.0.0.1"],
        [PUBLIC, "127.0.0.1"],
    ],
)
async def test_a_name_with_a_forbidden_address_is_refused(
    tmp_path: Path, addresses: list[str]
) -> None:
    answers = {"site.example/a": httpx.Response(200, content=b"keys")}
    names = Names(site_example=[addresses])
    with pytest.raises(UrlFailed, match="not allowed for a context"):
        await read_url(UrlSpec("http://site.example/a"), tmp_path / "a", network(names, answers))


async def test_nothing_is_read_if_the_name_cannot_be_resolved(tmp_path: Path) -> None:
    answers = {"site.example/a": httpx.Response(200, content=b"keys")}
    with pytest.raises(UrlFailed, match="cannot be resolved") as failed:
        await read_url(UrlSpec("http://site.example/a"), tmp_path / "a", network(Names(), answers))
    assert failed.value.infrastructure


async def test_the_next_address_is_tried_if_a_connection_fails(tmp_path: Path) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.host)
        if len(sent) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, content=b"words")

    names = Names(site_example=[["2606:2800:220:1::1", PUBLIC]])
    transport = Network(names, lambda url: None, httpx.MockTransport(answer))
    await read_url(UrlSpec("http://site.example/a"), tmp_path / "a", transport)
    assert sent == ["2606:2800:220:1::1", PUBLIC]


@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.1/x",
        "http://2130706433/x",
        "http://0x7f.1/x",
        "http://[::ffff:169.254.169.254]/x",
        "http://localhost/x",
        "http://sub.localhost./x",
    ],
)
async def test_a_proxy_gets_no_request_for_a_forbidden_address(tmp_path: Path, href: str) -> None:
    """The proxy resolves names, so only an address in the URL can be checked."""
    proxied = Network(proxy_of=lambda url: "http://127.0.0.1:1")
    with pytest.raises(UrlFailed, match="not allowed for a context"):
        await read_url(UrlSpec(href), tmp_path / "a", proxied)


@pytest.mark.parametrize(
    "href",
    [
        "http://site.example:99999/x",
        "http://site.example:0/x",
        "http://[::1/x",
        "http://[foo]/x",
        "https://h℀/x",
        "file:///etc/passwd",
        "http:///x",
        "",
        "http://site.example/\x00",
    ],
)
async def test_a_url_that_cannot_be_requested_is_final(tmp_path: Path, href: str) -> None:
    """I10: a retry would change nothing."""
    names = Names(site_example=[[PUBLIC]])
    with pytest.raises(UrlFailed) as failed:
        await read_url(UrlSpec(href), tmp_path / "a", network(names, {}))
    assert failed.value.infrastructure is (failed.value.args[0].find("looked up") > 0)


@pytest.mark.parametrize("location", ["http://[::1", "file:///etc/passwd", "//h:99999/", "\x7f"])
async def test_a_redirect_that_cannot_be_followed_is_a_failure(
    tmp_path: Path, location: str
) -> None:
    names = Names(site_example=[[PUBLIC]])
    answers = {"site.example/a": httpx.Response(302, headers={"location": location})}
    with pytest.raises(UrlFailed):
        await read_url(UrlSpec("http://site.example/a"), tmp_path / "a", network(names, answers))


async def test_an_oversized_or_different_file_is_not_kept(tmp_path: Path) -> None:
    names = Names(site_example=[[PUBLIC]])
    answers = {"site.example/a": httpx.Response(200, content=b"x" * 11)}
    href = "http://site.example/a"
    with pytest.raises(UrlFailed, match="larger than 10 bytes"):
        await read_url(UrlSpec(href, 10), tmp_path / "a", network(names, answers))
    with pytest.raises(UrlFailed, match=r"not url\.sha256"):
        await read_url(UrlSpec(href, 11, "0" * 64), tmp_path / "a", network(names, answers))
    assert os.listdir(tmp_path) == []
    digest = hashlib.sha256(b"x" * 11).hexdigest()
    await read_url(UrlSpec(href, 11, digest), tmp_path / "a", network(names, answers))
    assert os.listdir(tmp_path) == ["a"]


async def test_a_large_answer_is_streamed_to_disk(tmp_path: Path) -> None:
    """Only one piece at a time is in memory."""
    piece, behind = b"x" * 1024 * 1024, []

    async def body() -> AsyncIterator[bytes]:
        for number in range(32):
            yield piece
            written = (tmp_path / ".a.new").stat().st_size
            behind.append((number + 1) * len(piece) - written)

    names = Names(site_example=[[PUBLIC]])
    answers = {"site.example/a": httpx.Response(200, content=body())}
    spec = UrlSpec("http://site.example/a", 64 * 1024**2)
    await read_url(spec, tmp_path / "a", network(names, answers))
    assert (tmp_path / "a").stat().st_size == 32 * len(piece)
    assert max(behind) <= len(piece)


@pytest.mark.parametrize("bound", ["100Gi", f"{MAX_BYTES + 1}", "9" * 400])
def test_a_limit_above_the_maximum_is_refused(bound: str) -> None:
    with pytest.raises(UrlFailed, match=r"url\.maxBytes"):
        UrlSpec.parse({"href": "http://h/", "maxBytes": bound}, None)


def test_a_limit_up_to_the_maximum_is_accepted() -> None:
    assert UrlSpec.parse({"href": "http://h/", "maxBytes": "1Gi"}, None).max_bytes == MAX_BYTES
    assert UrlSpec.parse({"href": "http://h/"}, None).max_bytes == 1024**2
