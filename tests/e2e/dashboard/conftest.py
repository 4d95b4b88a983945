"""A served dashboard and a real Chromium that looks at it."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from tests.functional.dashboard.state_repository import StateRepository

from guildnet_dashboard.main import run
from guildnet_dashboard.settings import Settings

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
DRIVER = shutil.which("chromedriver") or "/usr/bin/chromedriver"
# Root in a container has no sandbox; and nothing calls home.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--window-size=1280,1000",
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """One headless Chromium for all tests; it keeps its console."""
    for program in (CHROMIUM, DRIVER):
        if not Path(program).is_file():
            pytest.skip(f"{program} is not installed (apt-get install chromium chromium-driver)")
    options = Options()
    options.binary_location = CHROMIUM
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(chromium: WebDriver) -> Iterator[WebDriver]:
    """The browser on no page, with an empty console; it leaves before its server does."""
    chromium.get("about:blank")
    console(chromium)
    yield chromium
    chromium.get("about:blank")


def console(browser: WebDriver) -> list[dict[str, Any]]:
    """What the console holds since it was last asked for."""
    read: Any = browser.get_log
    entries: list[dict[str, Any]] = read("browser")
    return entries


@pytest.fixture
def repository(tmp_path: Path) -> StateRepository:
    return StateRepository(tmp_path / "state.git")


@pytest.fixture
def address(repository: StateRepository, tmp_path: Path) -> Iterator[str]:
    """Where the dashboard of `repository` is served, on a port of its own."""
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
        assert not thread.is_alive(), "the dashboard did not end"


def _wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + 60
    while httpx.get(f"{address}/api/health").status_code != 200:
        assert time.monotonic() < deadline, "the repository was not read within a minute"
        time.sleep(0.05)
