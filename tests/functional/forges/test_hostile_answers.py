"""Whatever a forge sends, a call returns a valid value or raises one of two errors (I9)."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guildnet.digest import readable_json
from guildnet.forges import Forge, ForgeRefused, ForgeUnavailable, PullRequest, PullRequestDraft
from guildnet.forges import transport as forge_transport
from guildnet.forges.bitbucket import Bitbucket
from guildnet.forges.bitbucket_server import BitbucketServer
from guildnet.forges.gitea import Gitea
from guildnet.forges.github import GitHub
from guildnet.forges.gitlab import GitLab
from guildnet.forges.port import CommitStatus

ADAPTERS: list[Callable[[str, str, str], Forge]] = [
    Gitea,
    GitHub,
    GitLab,
    Bitbucket,
    BitbucketServer,
]
TOKEN = "forge-token-0123456789"

NAMES = st.sampled_from(
    [
        "id",
        "number",
        "iid",
        "url",
        "html_url",
        "web_url",
        "links",
        "html",
        "self",
        "href",
        "state",
        "merged",
        "merged_at",
        "head",
        "base",
        "ref",
        "label",
        "sha",
        "title",
        "body",
        "description",
        "created_at",
        "createdDate",
        "created_on",
        "message",
        "error",
        "errors",
        "fields",
        "code",
        "detail",
        "values",
        "next",
        "isLastPage",
        "nextPageStart",
        "fromRef",
        "toRef",
        "latestCommit",
        "source",
        "destination",
        "branch",
        "name",
        "commit",
        "hash",
        "default_branch",
        "repository",
        "full_name",
        "displayId",
        "source_branch",
        "target_branch",
        "source_project_id",
        "target_project_id",
        "username",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["b", "main", "open", "OPEN", "refs/heads/b", "acme/web", "acme:b", "\ud800", "x" * 3000]
    )
    | st.sampled_from(["2024-01-01T00:00:00Z", "http://h/1", "javascript:1", "a" * 40, TOKEN])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=12),
    max_leaves=40,
)
BODIES = JSON.map(lambda value: json.dumps(value).encode()) | st.sampled_from(
    [
        b"",
        b"<html>",
        b"[" * 900,
        b'{"message":' + b'{"message":' * 700 + b"1" + b"}" * 701,
        b'{"errors":' + b"[" * 700 + b"]" * 700 + b"}",
        b"9" * 5000,
        b"\xff\xfe\x00",
        b'"\\ud800"',
        b'{"number": 1e999}',
    ]
)
HEADERS = st.lists(
    st.sampled_from(
        [
            b"retry-after: nan",
            b"retry-after: -1e400",
            b"retry-after: \xb2",
            b"x-ratelimit-remaining: 0",
            b"x-ratelimit-reset: \xb2",
            b"x-ratelimit-reset: \xc2\xb2",
            b"x-ratelimit-reset: " + b"9" * 5000,
            b"ratelimit-reset: \xb3",
            b"content-encoding: gzip",
            b"content-encoding: br, deflate",
            b"content-type: text/html; charset=unheard",
            b"content-length: -1",
            b"content-length: 99999999999999999999",
            b"transfer-encoding: chunked",
            b"location: http://[::1",
            b"set-cookie: \xff=\x80",
            b"no colon",
            b": empty",
        ]
    ),
    max_size=4,
)
STATUSES = st.sampled_from(
    [
        b"200 OK",
        b"201 C",
        b"204 N",
        b"301 M",
        b"400 B",
        b"401 U",
        b"403 F",
        b"404 N",
        b"409 C",
        b"422 U",
        b"429 T",
        b"500 E",
        b"501 N",
        b"503 S",
        b"999 X",
        b"099 X",
        b"abc",
        b"200 \xff",
    ]
)


class HostileServer:
    """Answers each connection's first request with the same bytes and hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        hostile = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                received = b""
                while b"\r\n\r\n" not in received:
                    piece = self.request.recv(65536)
                    if not piece:
                        return
                    received += piece
                self.request.sendall(hostile.answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up early is what is tested."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    server = HostileServer()
    yield server
    server.close()


async def _call_all(forge: Forge) -> list[Any]:
    draft = PullRequestDraft("b", "title", "body", "main", labels=("l",), reviewers=("r",))
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: forge.find_pull_requests("b"),
        lambda: forge.create_pull_request(draft),
        lambda: forge.get_pull_request(1),
        lambda: forge.set_commit_status(CommitStatus("a" * 40, "error", "guildnet", "d")),
    ]
    outcomes: list[Any] = []
    for call in calls:
        try:
            outcomes.append(await call())
        except (ForgeUnavailable, ForgeRefused) as error:
            outcomes.append(str(error))
    return outcomes


def _is_fit(outcome: Any) -> bool:
    if isinstance(outcome, str):
        return TOKEN not in outcome and len(outcome.encode()) < 4000
    pulls = outcome if isinstance(outcome, list) else [outcome] if outcome else []
    for pull in pulls:
        assert isinstance(pull, PullRequest)
        artifact = {**pull.as_artifact(), "title": pull.title[:256]}
        assert len(readable_json(artifact)) <= 16 * 1024
    return True


@pytest.mark.parametrize("adapter", ADAPTERS)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(status=STATUSES, headers=HEADERS, body=BODIES)
def test_any_answer_is_a_value_or_one_of_two_errors(
    hostile: HostileServer,
    adapter: Callable[[str, str, str], Forge],
    status: bytes,
    headers: list[bytes],
    body: bytes,
) -> None:
    hostile.answer = b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"", body])
    outcomes = asyncio.run(_call_all(adapter(hostile.url, "acme/web", TOKEN)))
    assert all(map(_is_fit, outcomes))


async def test_slow_headers_end_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Occasional header lines keep the read time-out from expiring."""
    monkeypatch.setattr(forge_transport, "_DEADLINE_SECONDS", 0.5)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not reader.at_eof():
                writer.write(b"x-slow: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ForgeUnavailable, match="no complete answer within"):
        await Gitea(f"http://127.0.0.1:{port}", "acme/web", TOKEN).get_pull_request(1)
    assert time.monotonic() - began < 10
    server.close()


async def test_a_token_that_is_invalid_in_a_header_is_refused_and_not_shown() -> None:
    """I8, I10: a token that was stored wrongly is a refusal, not an outage."""
    with pytest.raises(ForgeRefused, match="store the token again") as refused:
        await GitHub("http://127.0.0.1:1", "acme/web", "sekret\nvalue").get_pull_request(1)
    assert "sekret" not in str(refused.value)
