"""A real node and a real Chromium for the tests of this tier: one of each for the session."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

from guildnet_devcluster import cluster, mesh
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.progress import progress_to

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
def node_folders() -> Iterator[Path]:
    """Where the state folders of clusters with nodes are made."""
    # Not below pytest's own folder, whose name grows with each run: the kubelet's sockets below
    # these have at most 107 bytes for their whole path.
    with tempfile.TemporaryDirectory(prefix="gn-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def node_folder(node_folders: Path) -> Path:
    """A folder of the test's own, for clusters with nodes."""
    return Path(tempfile.mkdtemp(dir=node_folders))


@pytest.fixture(scope="session")
def node_cluster(node_folders: Path) -> Iterator[Cluster]:
    """A cluster with a node that lives as long as the session."""
    # Tests may point GUILDNET_STATE_DIR elsewhere; up and down must both see this one.
    state = node_folders / "node"
    name = f"t-node-{os.getpid()}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            found = cluster.up(name, node=True, progress=progress_to())
        yield found
    finally:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUILDNET_STATE_DIR", str(state))
            cluster.down(name)


@pytest.fixture(scope="session")
def pod_mesh(mesh_programs: None, node_folders: Path) -> Iterator[Mesh]:
    """A Headscale that pods and this machine reach, and no other; without a policy.

    It lives as long as the session. Tests share it: each uses users and tags of its own.
    """
    folder = node_folders / f"t-mesh-{os.getpid()}"
    try:
        yield mesh.up(folder, progress=progress_to(), reachable_by_pods=True)
    finally:
        mesh.down(folder)


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
