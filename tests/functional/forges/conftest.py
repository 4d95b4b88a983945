"""A real Gitea for these tests, and a scripted server that imitates the other forges."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from guildnet.errors import GuildNetError
from guildnet_devcluster import forge
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.progress import progress_to

Answer = tuple[int, dict[str, str], bytes]
NOT_FOUND: Answer = (404, {}, b'{"message": "Not Found"}')


@dataclass(frozen=True)
class GiteaRepository:
    """A repository on the running Gitea, with a bot that may push and open pull requests."""

    name: str
    url: str
    admin: ForgeAdmin
    token: str
    work_tree: Path

    def push_branch(self, branch: str) -> str:
        """Push one more commit on a branch that starts at main; gives the commit's id."""
        exists = self._git("branch", "--list", branch)
        self._git("switch", "-q", *([branch] if exists else ["-c", branch, "main"]))
        self._git("commit", "-q", "--allow-empty", "-m", f"Change for {branch}")
        self._git("push", "-q", "origin", branch)
        return self._git("rev-parse", "HEAD").strip()

    def delete_branch(self, branch: str) -> None:
        self._git("push", "-q", "origin", f":{branch}")

    def open_from_a_fork(self, branch: str) -> None:
        """A stranger forks the repository and opens a pull request from the same branch's name."""
        self.admin.create_user("stranger", "a-long-password-of-a-stranger")
        self.admin.add_collaborator(self.name, "stranger", "read")
        token = self.admin.create_token("stranger", "a-long-password-of-a-stranger", "t")
        headers = {"Authorization": f"token {token}"}
        api = f"{self.admin.url}/api/v1/repos/{self.name}"
        httpx.post(f"{api}/forks", json={}, headers=headers, timeout=30).raise_for_status()
        pull = {"head": f"stranger:{branch}", "base": "main", "title": "Mine"}
        httpx.post(f"{api}/pulls", json=pull, headers=headers, timeout=30).raise_for_status()

    def start(self) -> None:
        """The first commit on main."""
        self._git("init", "-q", "-b", "main")
        remote = self.url.replace("://", f"://bot:{self.token}@")
        self._git("remote", "add", "origin", remote)
        (self.work_tree / "README.md").write_text("# A product\n")
        self._git("add", "README.md")
        self._git("commit", "-q", "-m", "First")
        self._git("push", "-q", "origin", "main")
        # Gitea shows a push a moment after accepting it.
        deadline = time.monotonic() + 20
        while self.admin.is_empty(self.name):
            assert time.monotonic() < deadline, "Gitea does not notice the first push"
            time.sleep(0.05)

    def _git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.work_tree), *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def gitea() -> Iterator[forge.Forge]:
    data = Path(tempfile.mkdtemp(prefix="guildnet-test-forge-"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    try:
        yield forge.up(data, listen=listen, root_url=None, progress=progress_to())
    except GuildNetError as error:
        pytest.skip(f"no Gitea here: {error}")
    finally:
        forge.down(data)
        shutil.rmtree(data)


@pytest.fixture(scope="session")
def bot_token(gitea: forge.Forge) -> str:
    admin = ForgeAdmin(gitea.local_url, gitea.admin_token)
    admin.create_user("bot", "a-long-password-of-a-bot")
    return admin.create_token("bot", "a-long-password-of-a-bot", "guildnet")


@pytest.fixture
def repository(
    gitea: forge.Forge, bot_token: str, tmp_path: Path, request: pytest.FixtureRequest
) -> GiteaRepository:
    """A repository of the test's own, in an organisation, with one commit on main."""
    admin = ForgeAdmin(gitea.local_url, gitea.admin_token)
    owner = "org-" + request.node.name.replace("_", "-")[-30:].strip("-")
    admin.create_organization(owner)
    name = f"{owner}/web"
    admin.create_repository(name)
    admin.add_collaborator(name, "bot")
    work_tree = tmp_path / "web"
    work_tree.mkdir()
    made = GiteaRepository(name, admin.clone_url(name), admin, bot_token, work_tree)
    made.start()
    return made


@dataclass
class Scripted:
    """An HTTP server with a list of answers for each `METHOD path`; the last one repeats."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def answer(
        self, route: str, content: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """`content` is sent as JSON, bytes as they are; `route` is `METHOD /path`, no query."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answers.setdefault(route, []).append((status, headers or {}, body))

    def sent(self, route: str) -> list[Any]:
        """The bodies that were sent to `route`."""
        return [
            body
            for method, path, _, body in self.requests
            if f"{method} {path.partition('?')[0]}" == route
        ]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            script.requests.append((self.command, self.path, dict(self.headers), body))
            answers = script.answers.get(f"{self.command} {self.path.partition('?')[0]}")
            answer = answers.pop(0) if answers and len(answers) > 1 else (answers or [NOT_FOUND])[0]
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.server_close()
