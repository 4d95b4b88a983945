"""Real remotes for the git adapter: a bare repository, by its folder and over HTTP."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class Remote:
    """A bare repository that tests commit to as a person would, through a work tree."""

    path: Path
    work: Path = field(init=False)

    def __post_init__(self) -> None:
        self.work = self.path.with_suffix(".work")
        self.git("init", "--bare", "-q", "-b", "main", str(self.path), at=self.path.parent)
        self.git("init", "-q", "-b", "main", str(self.work), at=self.path.parent)
        self.git("remote", "add", "origin", str(self.path))

    def git(self, *args: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *args], cwd=at or self.work, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(
        self, files: Mapping[str, str | bytes | None], message: str = "change", branch: str = "main"
    ) -> str:
        """Commit and push; None deletes a file. The new commit's id."""
        if self.git("rev-parse", "--abbrev-ref", "HEAD", at=self.path) != branch:
            self.git("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        for name, content in files.items():
            file = self.work / name
            if content is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "-A")
        words = self.work.parent / "message"
        words.write_text(message)
        self.git("commit", "-q", "--allow-empty", "-F", str(words))
        self.git("push", "-q", "-f", "origin", f"HEAD:refs/heads/{branch}")
        return self.git("rev-parse", "HEAD")

    def files(self, branch: str) -> dict[str, str]:
        names = self.git("ls-tree", "-r", "--name-only", branch, at=self.path).splitlines()
        return {name: self.git("show", f"{branch}:{name}", at=self.path) for name in names}

    def tip(self, branch: str) -> str:
        return self.git("rev-parse", f"refs/heads/{branch}", at=self.path)

    def history(self, branch: str) -> list[str]:
        return self.git("log", "--format=%s", branch, at=self.path).splitlines()


@pytest.fixture
def make_remote(tmp_path: Path) -> Callable[[str], Remote]:
    return lambda name: Remote(tmp_path / f"{name}.git")


@pytest.fixture
def remote(make_remote: Callable[[str], Remote]) -> Remote:
    return make_remote("remote")


@dataclass
class GitServer:
    """git http-backend behind Python's HTTP server."""

    url: str
    password: str
    requests: list[str]
    server: ThreadingHTTPServer

    def take(self, password: str) -> None:
        """Take this password from now on, and no other."""
        self.password = password
        vars(self.server)["RequestHandlerClass"].password = password

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)


class _Backend(BaseHTTPRequestHandler):
    root: Path
    password: str
    seen: list[str]
    protocol_version = "HTTP/1.0"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        self.seen.append(format % args)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(301)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
            return
        expected = base64.b64encode(f"git:{self.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "git",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": self.headers.get("Content-Length", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        # A TLS client takes an end without a length for a connection that was cut.
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    """Serves every repository of tmp_path to the user `git` with a password."""
    seen: list[str] = []
    handler = type(
        "Backend", (_Backend,), {"root": tmp_path, "password": "s3cret-pw", "seen": seen}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield GitServer(url, "s3cret-pw", seen, server)
        server.shutdown()
        thread.join()


@pytest.fixture
def make_kubeconfig(tmp_path: Path) -> Callable[..., Path]:
    """Writes a kubeconfig for a server without certificates."""

    def write(server: str, user: Mapping[str, object] | None = None, **cluster: object) -> Path:
        path = tmp_path / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [
                {
                    "name": "here",
                    "context": {"cluster": "c", "user": "u", "namespace": "agents"},
                }
            ],
            "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "u", "user": dict(user or {"token": "t0ken"})}],
        }
        path.write_text(json.dumps(config))
        return path

    return write
