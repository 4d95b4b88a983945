"""Run inside an agent's workspace: tries every door, writes what it found, forges its results.

python3 hostile_command.py DOORS-AS-JSON FORGED-URL
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

FILES = (
    "/run/guildnet/agent/api-key",
    "/run/guildnet/git/forge-token/password",
    "/home/supervisor/.guildnet/state",
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
)
PLANTED = Path("/exchange/in/planted")
AGENT_PORT = 8484
START = b'{"run": 9, "attempt": 1, "start": 1, "spec": {}}'


def main(doors: str, forged_url: str) -> None:
    found = {name: knock(*place.rsplit(":", 1)) for name, place in json.loads(doors).items()}
    found |= {path: "open" if os.path.exists(path) else "closed" for path in FILES}
    found[f"writing {PLANTED.parent}"] = plant()
    found["processes of others"] = look_at_processes()
    found["agent API, unsigned"] = ask_unsigned()
    found["agent API's port"] = answer_in_its_place()
    state = Path.home() / ".guildnet/state"
    forged = {"url": forged_url, "number": 1, "state": "merged", "provider": "gitea"}
    (state / "last_pr.json").write_text(json.dumps(forged))
    (state / "last_run.json").write_text(json.dumps({"run": 77, "exitCode": 0}))
    (state / "doors.json").write_text(json.dumps(found))


def knock(host: str, port: str) -> str:
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return "closed"
    return "open"


def plant() -> str:
    try:
        PLANTED.touch()
    except OSError:
        return "closed"
    return "open"


def look_at_processes() -> str:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                return "open"
    return "closed"


def ask_unsigned() -> str:
    url = f"http://127.0.0.1:{AGENT_PORT}/start"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, START), timeout=5) as answer:
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)


def answer_in_its_place() -> str:
    try:
        with socket.socket() as mine:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            mine.bind(("0.0.0.0", AGENT_PORT))
            mine.listen()
    except OSError:
        return "closed"
    return "open"


if __name__ == "__main__":
    main(*sys.argv[1:])
