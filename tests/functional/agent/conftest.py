"""A pod without Kubernetes: both containers as real processes, a real git server, a forge's API.

The forge is ours, in the shape of Gitea's pulls API, and can be made to fail in the ways real
ones do.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from guildnet.agent_api.signing import (
    AUTH_HEADER,
    SIGNATURE_HEADER,
    new_nonce,
    request_auth,
    verify_answer,
)
from guildnet_agent.shim.processes import descendants, list_processes

TOKEN = "forge-token-0123456789"
DEADLINE_SECONDS = 120.0  # of every wait: long enough for a machine that others load


Found = TypeVar("Found")


def wait_for(
    what: str, look: Callable[[], Found | None], seconds: float = DEADLINE_SECONDS
) -> Found:
    """Wait for a value that is not None or False, and fail at the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Forge:
    """A git server with basic auth, and an API for pull requests in the shape of Gitea's."""

    root: Path
    port: int = 0
    pulls: list[dict[str, Any]] = field(default_factory=list)
    created: int = 0
    requests: list[str] = field(default_factory=list)
    fault: Callable[[str, str], str | None] = lambda method, path: None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def files(self) -> str:
        """Where its files are to a supervisor, which reads no URL from loopback: the forge is its
        proxy as well."""
        return "http://files.example/files"

    def url(self, name: str = "acme/web") -> str:
        return f"http://{self.host}/{name}.git"

    def repository(self, name: str = "acme/web") -> Path:
        return self.root / f"{name}.git"

    def tip(self, branch: str) -> str | None:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"],
            cwd=self.repository(),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() or None

    def branches(self) -> set[str]:
        layout = "--format=%(refname:short)"
        return set(git(self.repository(), "for-each-ref", layout).splitlines())

    def commit(self, name: str, branch: str, onto: str | None = None) -> str:
        """A commit by somebody else that adds a file ``name``, pushed to a branch; its id."""
        seed = self.root / "seed"
        git(seed, "fetch", "--quiet", "origin")
        git(seed, "checkout", "--quiet", "--detach", onto or f"origin/{branch}")
        (seed / name).write_text(f"{name}\n")
        git(seed, "add", ".")
        git(seed, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "-qm", name)
        git(seed, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return git(seed, "rev-parse", "HEAD")

    def show(self, name: str) -> str:
        return git(self.repository(), "show", name)

    def create_repository(self, name: str = "acme/web") -> None:
        bare = self.repository(name)
        bare.mkdir(parents=True)
        git(bare, "init", "--quiet", "--bare", "--initial-branch=main")
        git(bare, "config", "http.receivepack", "true")
        git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
        work = self.root / "seed"
        git(self.root, "clone", "--quiet", str(bare), str(work))
        for number in range(3):
            (work / "README.md").write_text(f"version {number}\n")
            git(work, "add", ".")
            identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
            git(work, *identity, "commit", "--quiet", "-m", f"version {number}")
        git(work, "push", "--quiet", "origin", "HEAD:main")


def _handler(forge: Forge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self._body()
            path = urlsplit(self.path).path
            forge.requests.append(f"{self.command} {path}")
            fault = forge.fault(self.command, path)
            if fault == "drop":
                self.close_connection = True
                return
            if fault and fault.isdigit():
                self._json(int(fault), {"message": "requested by the test"})
            elif path.startswith("/api/v1"):
                self._api(path.removeprefix("/api/v1"), body, fault)
            elif path in ("/leads-on", "/leads-to-itself"):
                target = parse_qs(urlsplit(self.path).query).get("to", [path])[0]
                self._answer(302, b"", {"Location": target})
            elif path.startswith("/files/"):
                self._answer(200, (forge.root / path.lstrip("/")).read_bytes())
            else:
                self._git(path, body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _json(self, status: int, value: object) -> None:
            headers = {"Content-Type": "application/json"}
            self._answer(status, json.dumps(value).encode(), headers)

        def _api(self, path: str, body: bytes, fault: str | None) -> None:
            if path == "/version":
                return self._json(200, {"version": "1.25.0"})
            if self.headers.get("Authorization") != f"token {TOKEN}":
                return self._json(401, {"message": "token needed"})
            if path == "/repos/acme/web":
                return self._json(200, {"default_branch": "main"})
            if path == "/repos/acme/web/pulls" and self.command == "GET":
                page = int(parse_qs(urlsplit(self.path).query).get("page", ["1"])[0])
                return self._json(200, forge.pulls if page == 1 else [])
            if path == "/repos/acme/web/pulls":
                return self._create(json.loads(body), fault)
            return self._json(404, {"message": "not found"})

        def _create(self, asked: dict[str, Any], fault: str | None) -> None:
            for pull in forge.pulls:
                if pull["state"] == "open" and pull["head"]["label"] == asked["head"]:
                    return self._json(409, {"message": "exists"})
            tip = forge.tip(asked["head"])
            if tip is None:
                return self._json(404, {"message": "no such head"})
            number = len(forge.pulls) + 1
            forge.created += 1
            pull = {
                "number": number,
                "html_url": f"http://{forge.host}/acme/web/pulls/{number}",
                "state": "open",
                "merged": False,
                "title": asked["title"],
                "body": asked["body"],
                "created_at": "2026-01-02T03:04:05Z",
                "head": {"label": asked["head"], "ref": asked["head"], "sha": tip, "repo_id": 1},
                "base": {"label": asked["base"], "ref": asked["base"], "sha": "", "repo_id": 1},
            }
            forge.pulls.insert(0, pull)
            if fault == "lose answer":
                self.close_connection = True
                return None
            return self._json(201, pull)

        def _git(self, path: str, body: bytes) -> None:
            user_token = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {user_token}":
                return self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="forge"'})
            environ = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(forge.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "PATH_INFO": path,
                "QUERY_STRING": urlsplit(self.path).query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "agent",
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environ, capture_output=True, check=False
            )
            head, _, data = done.stdout.partition(b"\r\n\r\n")
            headers = dict(
                line.split(": ", 1) for line in head.decode().splitlines() if ": " in line
            )
            status = int(headers.pop("Status", "200").split()[0])
            return self._answer(status, data, headers)

    return Handler


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Forge]:
    """A forge with one repository of three commits."""
    root.mkdir()
    forge = Forge(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(forge))
    forge.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        forge.create_repository()
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    with serving(tmp_path / "forge") as forge:
        yield forge


class Pod:
    """One agent's pod in folders of the test; ``settings`` are for both containers."""

    def __init__(self, folder: Path, forge: Forge) -> None:
        self.folder = folder
        self.forge = forge
        self.key = bytes(range(32))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environ: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.port = free_port()
        self.editor_port = free_port()
        self.gateway_port = free_port()
        self.model: dict[str, Any] | None = None
        folders = ("in", "out", "workspace", "agent", "git/forge", "configmaps", "model")
        for name in (*folders, "sup", "work"):
            (folder / name).mkdir(parents=True)
        (folder / "agent" / "api-key").write_text(self.key.hex())
        (folder / "git" / "forge" / "token").write_text(TOKEN + "\n")
        self.write_task({"prompt": "."}, hosts=[forge.host])

    def lose_pod(self) -> None:
        """The pod is gone with every folder of it but the workspace's volume."""
        self.end()
        for name in ("in", "out", "sup", "work"):
            shutil.rmtree(self.folder / name)
            (self.folder / name).mkdir()

    def write_task(self, spec: dict[str, Any], hosts: list[str]) -> None:
        task = {
            "org": "acme",
            "task": "fix",
            "namespace": "agents",
            "uid": "u",
            "stateRepository": "",
            "spec": spec,
            "gitSecrets": {"forge": {"hosts": hosts}},
            "model": self.model,
        }
        (self.folder / "agent" / "task.json").write_text(json.dumps(task))

    def use_model(self, key: str, **model: Any) -> None:
        """The org's model as the operator writes it, and its mounted key."""
        (self.folder / "model" / "api-key").write_text(key + "\n")
        self.model = model
        self.write_task({"prompt": "."}, hosts=[self.forge.host])

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def exchange_in(self) -> Path:
        return self.folder / "in"

    def spec(self, command: str, **fields: Any) -> dict[str, Any]:
        """A task on the forge's repository that opens a pull request."""
        context = {"url": self.forge.url(), "secret": "forge"}
        return {
            "prompt": "Fix the thing.\nAll of it.",
            "agent": {"command": ["sh", "-c", command]},
            "context": [{"name": "web", "git": context}],
            "pullRequest": {"context": "web", "base": "main"},
        } | fields

    def start_halves(self) -> None:
        self.start_supervisor()
        self.start_shim()

    def start_supervisor(self) -> None:
        self.run_half("supervisor")
        wait_for("the agent API answers", self._is_healthy)

    def start_shim(self) -> None:
        self.run_half("shim")

    def run_half(self, half: str) -> None:
        own = {
            "HOME": str(self.folder / "sup"),
            "http_proxy": f"http://{self.forge.host}",
            "no_proxy": "127.0.0.1,localhost",
        }
        if half == "shim":
            own = {"HOME": str(self.folder / "work"), **self.environ}
        paths = {
            "EXCHANGE_IN": self.exchange_in,
            "EXCHANGE_OUT": self.out,
            "WORKSPACE": self.workspace,
            "AGENT_DIR": self.folder / "agent",
            "GIT_DIR": self.folder / "git",
            "CONFIG_MAPS_DIR": self.folder / "configmaps",
            "MODEL_DIR": self.folder / "model",
        }
        full = {
            "PATH": os.environ["PATH"],
            "GUILDNET_EDITOR": "0",
            "GUILDNET_LISTEN": "127.0.0.1",
            "GUILDNET_PORT": str(self.port),
            "GUILDNET_EDITOR_PORT": str(self.editor_port),
            "GUILDNET_GATEWAY_PORT": str(self.gateway_port),
            **{f"GUILDNET_{name}": str(path) for name, path in paths.items()},
            **{f"GUILDNET_{name}": value for name, value in self.settings.items()},
            **own,
        }
        with open(self.folder / f"{half}.log", "ab") as log:
            self.processes[half] = subprocess.Popen(
                [sys.executable, "-m", f"guildnet_agent.{half}"],
                env=full,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz").text == "ok"
        except httpx.HTTPError:
            return False

    def kill(self, half: str) -> None:
        process = self.processes.pop(half)
        process.kill()
        process.wait()

    def terminate(self, half: str, seconds: float = 60) -> int:
        process = self.processes.pop(half)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=seconds)

    def log(self, half: str) -> str:
        return (self.folder / f"{half}.log").read_text()

    def ask(self, method: str, target: str, value: object = None, **headers: str) -> httpx.Response:
        """A signed request whose answer is rightly signed."""
        body = b"" if value is None else json.dumps(value).encode()
        nonce = new_nonce()
        auth = request_auth(self.key, nonce, method, target, body)
        url = f"http://127.0.0.1:{self.port}{target}"
        answer = httpx.request(
            method, url, content=body, headers={**headers, AUTH_HEADER: auth}, timeout=70
        )
        signature = answer.headers.get(SIGNATURE_HEADER)
        verify_answer(self.key, signature, nonce, answer.status_code, answer.content)
        return answer

    def start(self, spec: dict[str, Any], run: int = 1, attempt: int = 1, start: int = 1) -> None:
        request = {"run": run, "attempt": attempt, "start": start, "spec": spec}
        answer = self.ask("POST", "/start", request)
        assert answer.status_code == 202, answer.text

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/state").json()
        return found

    def wait_for_step(self, *steps: str, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            state = self.state()
            return state if state["step"] in steps else None

        try:
            return wait_for(f"step {steps}", look, seconds)
        except AssertionError as error:
            logs = self.log("supervisor") + self.log("shim")
            raise AssertionError(f"{error}; state {self.state()}\n{logs}") from error

    def run_to_end(self, spec: dict[str, Any], **start: int) -> dict[str, Any]:
        self.start(spec, **start)
        return self.wait_for_step("Finished", "Stopped")

    def end(self) -> None:
        """End both containers and all they started, as it is where containers end."""
        for half in list(self.processes):
            self.end_half(half)

    def end_half(self, half: str) -> None:
        below = stop_below(self.processes[half].pid)
        self.kill(half)
        for pid in below:
            os.kill(pid, signal.SIGKILL)
        wait_for(f"nothing is left of {half}", lambda: not any(map(is_running, below)))


def stop_below(pid: int) -> set[int]:
    """Stop a process and all below it, so that none of them begins another; those below it."""
    stopped: set[int] = set()
    os.kill(pid, signal.SIGSTOP)
    while True:
        found = {item.pid for item in descendants(list_processes(), pid) if not item.is_zombie}
        if found <= stopped:
            return {item for item in stopped if is_running(item)}
        for new in found - stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(new, signal.SIGSTOP)
        stopped |= found


def is_running(pid: int) -> bool:
    process = list_processes().get(pid)
    return process is not None and not process.is_zombie


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def pod(tmp_path: Path, forge: Forge) -> Iterator[Pod]:
    pod = Pod(tmp_path / "pod", forge)
    yield pod
    pod.end()


class NextRun:
    """One pod for the tests of a module: each takes the next run, with a clean checkout."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.number = 0

    @property
    def branch(self) -> str:
        return "guildnet/acme/fix" + (f".r{self.number}" if self.number > 1 else "")

    @property
    def out(self) -> Path:
        return self.pod.out / f"{self.number}.1.1"

    def take(self) -> NextRun:
        self.number += 1
        return self

    def to_end(self, spec: dict[str, Any]) -> dict[str, Any]:
        return self.pod.run_to_end(spec, run=self.number)


@pytest.fixture(scope="module")
def standing_pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NextRun]:
    folder = tmp_path_factory.mktemp("standing")
    with serving(folder / "forge") as forge:
        pod = Pod(folder / "pod", forge)
        pod.environ = {"MODEL_KEY": "model-key-0123456789", "GUILDNET_REDACT": "MODEL_KEY"}
        try:
            pod.start_halves()
            yield NextRun(pod)
        finally:
            pod.end()


@pytest.fixture
def run(standing_pod: NextRun) -> NextRun:
    """The next run of the module's pod."""
    return standing_pod.take()
