"""Serve a scripted model until interrupted: ``python -m guildnet_devcluster.scripted_model``."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from guildnet_devcluster.scripted_model.script import Script
from guildnet_devcluster.scripted_model.server import ScriptedModel, serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key-file", type=Path, help="file with the key that requests must carry")
    parser.add_argument("--folder", required=True, help="where the agent's checkout is")
    parser.add_argument("--path", required=True, help="the file to repair, below the folder")
    parser.add_argument("--old", required=True, help="the text that is wrong")
    parser.add_argument("--new", required=True, help="what replaces it")
    parser.add_argument("--test", required=True, help="the command that shows the repair")
    given = parser.parse_args()
    script = Script(given.folder, given.path, given.old, given.new, given.test)
    key = given.key_file.read_text().strip() if given.key_file else None
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with serving(ScriptedModel(script, key, port=given.port), host=given.host) as model:
        print(f"{given.host}:{model.port}", flush=True)
        ending.wait()


if __name__ == "__main__":
    main()
