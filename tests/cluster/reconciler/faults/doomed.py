"""Reconcilers that are to die: python -m tests.cluster.reconciler.faults.doomed

Reads a line of JSON for each, forks a process that is one, and answers with its pid. What it
does to git, to a cluster or to its state directory is counted, before and after each; at the
count it was given it ends as by kill -9, and a file says where. No line of the product knows.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from guildnet.git.process import IsolatedGit
from guildnet.kube.transport import Answer, Request, Transport
from guildnet_reconciler import main
from guildnet_reconciler.settings import Settings
from guildnet_reconciler.source.follow import Repository

GIT_WRITES = ("fetch", "push", "update-ref", "fast-import")


@dataclass
class Doom:
    """Counts what is done; ends the process at `at` (0: never)."""

    at: int
    file: Path
    count: int = 0

    def cross(self, what: str) -> None:
        self.count += 1
        if self.count == self.at:
            self.file.write_text(what)
            os.kill(os.getpid(), signal.SIGKILL)


def watch_git(doom: Doom, run: Callable[..., bytes]) -> Callable[..., bytes]:
    @functools.wraps(run)
    def counted(self: IsolatedGit, *args: str, **options: Any) -> bytes:
        if args[0] not in GIT_WRITES:
            return run(self, *args, **options)
        doom.cross(f"before git {args[0]}")
        output = run(self, *args, **options)
        doom.cross(f"after git {args[0]}")
        return output

    return counted


def watch_cluster(
    doom: Doom, send: Callable[[Transport, Request], Awaitable[Answer]]
) -> Callable[[Transport, Request], Awaitable[Answer]]:
    @functools.wraps(send)
    async def counted(self: Transport, request: Request) -> Answer:
        if request.method == "GET":
            return await send(self, request)
        doom.cross(f"before {request.verb} {request.what}")
        answer = await send(self, request)
        doom.cross(f"after {request.verb} {request.what}")
        return answer

    return counted


def watch_repository(
    doom: Doom, what: str, step: Callable[..., Any]
) -> Callable[[Repository, str], Any]:
    @functools.wraps(step)
    def counted(self: Repository, tip: str) -> Any:
        result = step(self, tip)
        doom.cross(f"after {what}")
        return result

    return counted


def live(order: dict[str, Any]) -> None:
    """Be a reconciler until the end."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    doom = Doom(order["die_at"], Path(order["died_at"]))
    IsolatedGit.run = watch_git(doom, IsolatedGit.run)  # type: ignore[method-assign]
    Transport.send = watch_cluster(doom, Transport.send)  # type: ignore[method-assign,assignment]
    for name in ("_attempt", "_advance"):
        setattr(Repository, name, watch_repository(doom, name, getattr(Repository, name)))
    settings = Settings(
        repo=order["repo"],
        state_dir=Path(order["state_dir"]),
        listen=None,
        holder="doomed",
        status_interval=timedelta(milliseconds=100),
        retry=timedelta(milliseconds=200),
        max_retry=timedelta(seconds=1),
        poll=timedelta(seconds=1),
    )
    asyncio.run(main.run(settings))


def serve() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                live(json.loads(line))
                code = 0
            finally:
                os._exit(code)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    serve()
