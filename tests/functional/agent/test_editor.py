"""The editor starts with the pod, is restarted when it exits, and ends with the pod."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from guildnet_agent.shim.processes import list_processes

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Pod

# In the place of code-server: its health page, its password by the environment.
EDITOR = f"""#!{sys.executable}
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

assert os.environ["PASSWORD"] == "editor-password"
host, port = sys.argv[sys.argv.index("--bind-addr") + 1].split(":")
server = HTTPServer((host, int(port)), Page)
with open(os.environ["HOME"] + "/editors", "a") as file:
    file.write(f"{{os.getpid()}}\\n")
server.serve_forever()
"""


def until(what: str, look: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def test_the_editor_is_restarted_and_outlives_the_command(pod: Pod) -> None:
    """Ending the command and its descendants does not end the editor."""
    program = pod.folder / "editor"
    program.write_text(EDITOR)
    program.chmod(0o755)
    pod.environ = {
        "GUILDNET_EDITOR": "1",
        "GUILDNET_EDITOR_PROGRAM": str(program),
        "PASSWORD": "editor-password",
    }
    started = pod.folder / "work" / "editors"

    def editors() -> list[int]:
        return [int(line) for line in started.read_text().split()] if started.exists() else []

    pod.start_halves()
    until("the editor serves", lambda: pod.state()["editor"]["serving"])
    os.kill(editors()[0], signal.SIGKILL)
    until("another editor was started", lambda: len(editors()) == 2)

    state = pod.run_to_end(pod.spec('echo "password: $PASSWORD"; sleep 600 & true'))
    assert state["outcome"] == "Succeeded"
    assert state["logTail"].endswith("password: \n")
    assert not list_processes()[editors()[1]].is_zombie
    assert pod.terminate("shim") == 0
    assert editors()[1] not in list_processes()
