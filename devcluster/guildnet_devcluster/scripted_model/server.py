"""The endpoint over HTTP: records requests, counts usage, and simulates faults.

The first path segment of the base URL selects a fault, so clients need no support for it:
``/_401``, ``/_429`` and ``/_500`` answer with that status, ``/_hang`` never answers, ``/_stall``
never answers after the repair, ``/_cut`` cuts off each stream, ``/_echo`` answers with the received
credential, ``/_nap`` makes the agent run a command that sleeps, ``/_loop`` never lets it finish.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from guildnet_devcluster.scripted_model.conversation import Json, ModelRequest, Usage
from guildnet_devcluster.scripted_model.script import STEPS, Script, next_reply
from guildnet_devcluster.scripted_model.wire import Wire, as_text, find_wire, refusal

MAX_BODY_BYTES = 64 * 1024 * 1024
_CREDENTIALS = ("authorization", "x-api-key", "x-goog-api-key")
NAP = "python3 -c 'import time; time.sleep(600)'"


@dataclass(frozen=True)
class RecordedRequest:
    """One received request; ``served`` is None if it was refused or not answered."""

    method: str
    target: str
    headers: dict[str, str]
    model: str | None
    prompt: str
    results: int
    status: int
    served: Usage | None
    body: bytes = field(default=b"", repr=False)


@dataclass
class ScriptedModel:
    """``key``: the API key that requests must have; None accepts all. ``fault`` simulates the fault
    of that name for every request, or for ``fault_count`` requests if set."""

    script: Script
    key: str | None = None
    fault: str | None = None
    fault_count: int | None = None
    seen: list[RecordedRequest] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def total(self) -> Json:
        """The total usage, with the fields of a run's usage except its cost."""
        served = [item.served for item in self.seen if item.served]
        return {
            "requests": len([item for item in self.seen if item.method == "POST"]),
            "inputTokens": sum(item.read for item in served),
            "cachedInputTokens": sum(item.cached for item in served),
            "outputTokens": sum(item.output for item in served),
        }

    def note(self, seen: RecordedRequest) -> None:
        with self._lock:
            self.seen.append(seen)

    def take_fault(self) -> str | None:
        with self._lock:
            if self.fault is None or self.fault_count == 0:
                return None
            if self.fault_count is not None:
                self.fault_count -= 1
            return self.fault


@contextmanager
def serving(
    model: ScriptedModel, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedModel]:
    """Serve on ``model.port``, or on a free port if that is 0."""
    handler = type("Handler", (_Handler,), {"model": model})
    server = ThreadingHTTPServer((host, model.port), handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        model.scheme = "https"
    model.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield model
    finally:
        model.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def usage_of(request: ModelRequest) -> Usage:
    """The usage that an answer reports; it differs by step, so sums show which steps ran."""
    done = len(request.results)
    read = 1000 + 100 * done
    return Usage(read=read, cached=800 if done else 0, output=50 + done, reasoning=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: ScriptedModel

    def log_message(self, *_: object) -> None:
        """Requests are recorded in the model instead."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/_total":
            self._answer(200, self.model.total())
        elif path == "/_seen":
            self._answer(200, {"seen": [_shown(item) for item in self.model.seen]})
        elif path.endswith("/models"):
            self._note(None, 200, None)
            self._answer(200, {"object": "list", "data": [], "models": [], "has_more": False})
        else:
            self._refuse(None, 404, "no such path")

    def do_POST(self) -> None:
        body = self._read_body()
        path = self.path.partition("?")[0]
        prefix = re.match(r"/_([a-z0-9]+)/", path)
        fault = prefix[1] if prefix else self.model.take_fault()
        if self.model.key is not None and self.model.key not in self._keys():
            self._refuse(None, 401, "wrong API key", body)
        elif re.search(r"/count_tokens\Z|:countTokens\Z", path):
            self._answer(200, {"input_tokens": 1000, "totalTokens": 1000})
        elif (found := find_wire(path)) is None:
            self._refuse(None, 404, "no such path", body)
        else:
            self._converse(found[1], body, path, fault)

    def _converse(self, wire: Wire, body: bytes, path: str, fault: str | None) -> None:
        request = wire.parse(json.loads(body), path)
        if fault and fault.isdigit():
            self._refuse(request, int(fault), f"scripted {fault}", body)
            return
        if fault == "hang" or (fault == "stall" and len(request.results) >= STEPS.index("test")):
            self._note(request, 0, None, body)
            self.model.closing.wait(900)
            self.close_connection = True
            return
        script = self.model.script
        if fault == "loop":
            script = replace(script, extra_steps=10**6)
        elif fault == "nap":
            script = replace(script, test=NAP)
        reply = next_reply(request, script)
        if fault == "echo":
            reply = replace(reply, text=f"your key is {' '.join(self._keys())}.")
        served = usage_of(request)
        self._note(request, 200, served, body)
        number = len(self.model.seen)
        if not request.is_stream:
            self._answer(200, wire.whole(reply, request, served, number))
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in wire.events(reply, request, served, number):
            self.wfile.write(as_text(event).encode())
            self.wfile.flush()
            if fault == "cut":
                return

    def _keys(self) -> list[str]:
        given = [self.headers[name] for name in _CREDENTIALS if name in self.headers]
        return [value.removeprefix("Bearer ") for value in given]

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(min(int(self.headers.get("content-length", 0)), MAX_BODY_BYTES))

    def _note(
        self, request: ModelRequest | None, status: int, served: Usage | None, body: bytes = b""
    ) -> None:
        self.model.note(
            RecordedRequest(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                request.model if request else None,
                request.prompt if request else "",
                len(request.results) if request else 0,
                status,
                served,
                body,
            )
        )

    def _refuse(
        self, request: ModelRequest | None, status: int, message: str, body: bytes = b""
    ) -> None:
        self._note(request, status, None, body)
        self._answer(status, refusal(status, message))

    def _answer(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _shown(item: RecordedRequest) -> Json:
    """A recorded request as JSON, without headers and body."""
    return {
        "method": item.method,
        "target": item.target,
        "model": item.model,
        "prompt": item.prompt[:1000],
        "results": item.results,
        "status": item.status,
        "served": asdict(item.served) if item.served else None,
    }
