"""`guildnet sync` against a fake of the reconciler's HTTP API."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet


class Reconciler(ThreadingHTTPServer):
    """Finishes a pass over acme at every second request for metrics."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.token = ""
        self.passes = 3
        self.looks = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Reconciler

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self._answer(401, json.dumps({"message": "a pass needs the token"}))
        elif self.path in ("/sync", "/sync/acme"):
            self._answer(202, json.dumps({"message": "queued", "orgs": ["acme"]}))
        else:
            self._answer(404, json.dumps({"message": "there is no org ghost here"}))

    def do_GET(self) -> None:
        self.server.looks += 1
        self.server.passes += self.server.looks % 2
        text = f'guildnet_passes_total{{org="acme",outcome="Done"}} {self.server.passes}.0\n'
        self._answer(200, text + 'guildnet_passes_total{org="globex",outcome="Done"} 1.0\n')

    def _answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def reconciler() -> Iterator[Reconciler]:
    with Reconciler() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_pass_is_requested(guildnet: Guildnet, reconciler: Reconciler) -> None:
    answer = guildnet("sync", "acme", "--url", reconciler.url, "-o", "json")
    assert answer.code == 0
    assert json.loads(answer.out) == {"message": "queued", "orgs": ["acme"]}
    assert answer.err == "queued: acme\n"
    assert reconciler.asked == ["/sync/acme"]


def test_waiting_ends_after_a_pass_that_started_later(
    guildnet: Guildnet, reconciler: Reconciler
) -> None:
    answer = guildnet("sync", "--wait", "--url", reconciler.url)
    assert (answer.code, answer.err) == (0, "done: acme\n")
    assert reconciler.passes >= 5


def test_an_unknown_org_is_an_error(guildnet: Guildnet, reconciler: Reconciler) -> None:
    answer = guildnet("sync", "ghost", "--url", reconciler.url)
    assert answer.code == 1
    assert "there is no org ghost here" in answer.err


def test_without_a_reconciler_the_error_says_what_to_do(guildnet: Guildnet) -> None:
    """I10."""
    answer = guildnet("sync", "--url", "http://127.0.0.1:9")
    assert answer.code == 1
    assert "http://127.0.0.1:9: cannot reach the reconciler" in answer.err
    assert "guildnet reconciler" in answer.err


def test_the_token_of_the_state_folder_is_sent(
    guildnet: Guildnet, reconciler: Reconciler, tmp_path: Path
) -> None:
    reconciler.token = "correct-horse-battery"
    refused = guildnet("sync", "--url", reconciler.url)
    assert (refused.code, "a pass needs the token" in refused.err) == (1, True)
    assert "--token-file" in refused.err
    assert "GUILDNET_STATE_DIR" in refused.err
    file = tmp_path / "given"
    file.write_text(reconciler.token + "\n")
    assert guildnet("sync", "--url", reconciler.url, "--token-file", str(file)).code == 0
    kept = Path(os.environ["GUILDNET_STATE_DIR"]) / "reconciler-token"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(reconciler.token)
    assert guildnet("sync", "--url", reconciler.url).code == 0
