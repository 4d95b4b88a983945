"""Serves a dashboard for the browser."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest
from tests.functional.dashboard.state_repository import StateRepository

from guildnet_dashboard.main import run
from guildnet_dashboard.settings import Settings


@pytest.fixture
def repository(tmp_path: Path) -> StateRepository:
    return StateRepository(tmp_path / "state.git")


@pytest.fixture
def address(repository: StateRepository, tmp_path: Path) -> Iterator[str]:
    """The URL of a dashboard that serves `repository` on a free port."""
    settings = Settings(str(repository.path), tmp_path / "state", listen="127.0.0.1:0")
    started: Future[str] = Future()
    loop = asyncio.new_event_loop()
    serving = loop.create_task(run(settings, started=started.set_result))

    def serve() -> None:
        try:
            loop.run_until_complete(serving)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            started.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=serve, name="dashboard")
    thread.start()
    try:
        found = started.result(timeout=60).rstrip("/")
        _wait_until_ready(found)
        yield found
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(timeout=60)
        assert not thread.is_alive(), "the dashboard did not stop"


def _wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + 60
    while httpx.get(f"{address}/api/health").status_code != 200:
        assert time.monotonic() < deadline, "the repository was not read within a minute"
        time.sleep(0.05)
