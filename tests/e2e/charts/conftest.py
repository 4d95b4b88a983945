"""A node that has our image, a forge with a state repository, Helm and kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.helm import Helm, program

from guildnet_demo.sites import AGENTS
from guildnet_devcluster import cluster, forge
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.control_plane import free_ports
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.images import ImageRef, ensure_images
from guildnet_devcluster.progress import progress_to

STATE, BOT = "ops/state", "ops-bot"
DEADLINE_SECONDS = 120.0


def eventually(what: str, found: Callable[[], Any], details: Callable[[], str] = str) -> Any:
    """The first true answer of `found`, within the deadline."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not (answer := found()):
        assert time.monotonic() < end, f"not in time: {what}\n{details()}"
        time.sleep(0.2)
    return answer


@dataclass(frozen=True)
class Kubectl:
    kubeconfig: Path

    def run(self, *arguments: str, manifest: object = None) -> str:
        kubectl = str(Path(sys.executable).parent / "kubectl")
        done = subprocess.run(
            [kubectl, f"--kubeconfig={self.kubeconfig}", *arguments],
            input=None if manifest is None else json.dumps(manifest),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """An object, or None where there is none."""
        text = self.run("get", "--ignore-not-found", "--output=json", *arguments)
        return json.loads(text) if text.strip() else None

    @property
    def api_port(self) -> int:
        config = json.loads(self.run("config", "view", "--raw", "--output=json"))
        return urlsplit(config["clusters"][0]["cluster"]["server"]).port or 443


@dataclass(frozen=True)
class StateRepository:
    """The state repository on the forge, and a clone of it."""

    url: str
    port: int
    token: str
    work: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.work), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout

    def commit(self, files: dict[str, str]) -> None:
        for path, content in files.items():
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        self.git("push", "--quiet", "origin", "HEAD:main")

    def record(self, path: str) -> Any:
        """A file of the status branch, None while there is none."""
        try:
            self.git("fetch", "--quiet", "origin", "status")
            return json.loads(self.git("show", f"FETCH_HEAD:{path}"))
        except subprocess.CalledProcessError:
            return None


@pytest.fixture(scope="session")
def operator_image(node_cluster: Cluster) -> ImageRef:
    """The image, loaded into the node."""
    image = ensure_images(progress_to(), AGENTS).operator
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(node_cluster.data.parents[1]))
        cluster.up(node_cluster.name, node=True, progress=progress_to(), images=(image,))
    return image


@pytest.fixture(scope="session")
def helm(node_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(program("helm"), tmp_path_factory.mktemp("helm"), node_cluster.kubeconfig)


@pytest.fixture(scope="session")
def kubectl(node_cluster: Cluster) -> Kubectl:
    return Kubectl(node_cluster.kubeconfig)


@pytest.fixture(scope="module")
def repository(
    node_cluster: Cluster, node_folders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StateRepository]:
    (port,) = free_ports(1)
    data = node_folders / f"forge-{os.getpid()}"
    try:
        served = forge.up(
            data,
            listen=f"0.0.0.0:{port}",
            root_url=f"http://{node_cluster.host_address}:{port}",
            progress=progress_to(),
        )
        admin = ForgeAdmin(served.local_url, served.admin_token)
        admin.create_user(BOT, "a-long-password-of-a-bot")
        token = admin.create_token(BOT, "a-long-password-of-a-bot", "guildnet")
        admin.create_organization(STATE.partition("/")[0])
        admin.create_repository(STATE)
        admin.add_collaborator(STATE, BOT)
        work = tmp_path_factory.mktemp("state")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
            subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
            found = StateRepository(f"{served.url}/{STATE}.git", port, token, work)
            local = urlsplit(served.local_url)
            found.git("remote", "add", "origin", f"http://{BOT}:{token}@{local.netloc}/{STATE}.git")
            for key, value in (("name", "A Tester"), ("email", "tester@example.com")):
                found.git("config", f"user.{key}", value)
            yield found
    finally:
        forge.down(data)
