"""README's "Use it", command by command as it stands, on a real cluster and a real forge.

Only what a reader would put in differs: addresses, images, and the agent's own command.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from guildnet import labels
from guildnet.errors import KubeNotFound
from guildnet.kube import DEPLOYMENTS, KubeClient
from guildnet_demo.sites import ACME, SiteDetails
from guildnet_devcluster import forge
from guildnet_devcluster.control_plane import free_ports
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.progress import progress_to

README = Path(__file__).parents[3] / "README.md"
PATIENCE_SECONDS = 300.0
STATE, PRODUCT, BOT = "ops/state", "acme/web", "ops-bot"
# Shows its prompt, and leaves it as work.
AGENT = """echo "asked for: $0"; echo "$0" > FIXED.md"""


def commands() -> list[str]:
    """The lines of the section's code block, each whole, without its comment."""
    section = README.read_text().partition("## Use it")[2]
    block = section.partition("```\n")[2].partition("```")[0].replace("\\\n", " ")
    lines = [re.sub(r"\s+# .*$", "", line) for line in block.splitlines()]
    return [line.strip() for line in lines if line.strip()]


@dataclass
class Walk:
    """A reader with a shell: a folder, an environment, and what stands for the README's names."""

    folder: Path
    environment: dict[str, str]
    names: dict[str, str]
    admin: ForgeAdmin
    done: set[str] = field(default_factory=set)

    def line(self, *words: str) -> str:
        """The one command of the README that has all of `words`, with the reader's names."""
        there = [line for line in commands() if all(word in line for word in words)]
        (found,) = [line for line in there if (line,) == words] or there
        self.done.add(found)
        for name, own in self.names.items():
            found = found.replace(name, own)
        return found

    def run(self, *words: str) -> str:
        """Run it to its end; its standard output."""
        line = self.line(*words)
        done = subprocess.run(
            ["bash", "-ec", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, *words: str, more: str = "") -> Iterator[Path]:
        """Run it until the block ends, then end it; the file that it prints to."""
        said = self.folder.parent / f"said-{time.monotonic_ns()}"
        with said.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-ec", f"exec {self.line(*words)} {more}"],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield said
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(what: str, holds: Callable[[], object], details: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"no {what}\n{details()}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def git_server(own_surroundings: Path, details: SiteDetails) -> Iterator[forge.Forge]:
    (port,) = free_ports(1)
    data = own_surroundings / "forge"
    try:
        yield forge.up(
            data,
            listen=f"0.0.0.0:{port}",
            root_url=f"http://{details.host_address}:{port}",
            progress=progress_to(),
        )
    finally:
        forge.down(data)


@pytest.fixture(scope="module")
def walk(own_surroundings: Path, details: SiteDetails, git_server: forge.Forge) -> Walk:
    """The reader, before the first command: a forge with two repositories, a kubeconfig, a token
    and a webhook's secret lie ready."""
    admin = ForgeAdmin(git_server.local_url, git_server.admin_token)
    admin.create_user(BOT, "a-long-password-of-a-bot")
    token = admin.create_token(BOT, "a-long-password-of-a-bot", "guildnet")
    for repository in (STATE, PRODUCT):
        admin.create_organization(repository.partition("/")[0])
        admin.create_repository(repository)
        admin.add_collaborator(repository, BOT)
    folder = own_surroundings / "walk"
    folder.mkdir()
    (folder / "acme.config").write_bytes(details.kubeconfigs[ACME].read_bytes())
    (folder / "token").write_text(token)
    (folder / "hook").write_text("a-secret-of-the-webhook")
    address = git_server.url.partition("://")[2]
    (folder / "git-passwords").write_text(f"http://{BOT}:{token}@{address}\n")
    (folder / "gitconfig").write_text(
        f"[user]\n name = A Reader\n email = reader@example.com\n"
        f"[credential]\n helper = store --file={folder}/git-passwords\n"
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GUILDNET_STATE_DIR": str(folder / "s"),
        "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        "NO_COLOR": "1",
    }
    names = {
        # A Secret is used over plain http only if its host says so.
        "--host git.example": f"--host {git_server.url}",
        "https://git.example": git_server.url,
        "git.example": address,
        "registry.example/guildnet-operator:1": details.operator_image,
        "registry.example/guildnet-work:1": details.work_image,
        """my-agent --task "$0\"""": AGENT,
        # Where one shell goes into the new folder, each of ours begins.
        "init state": "init .",
        "&& cd state": "",
    }
    state = folder / "state"
    state.mkdir()
    reader = Walk(state, environment, names, admin)
    _push_product(reader, git_server)
    return reader


def _push_product(reader: Walk, git_server: forge.Forge) -> None:
    work = reader.folder.parent / "web"
    work.mkdir()
    (work / "login.py").write_text("def login():\n    return login()\n")
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "."),
        ("commit", "--quiet", "--message", "A product"),
        ("push", "--quiet", f"{git_server.url}/{PRODUCT}.git", "main"),
    ):
        subprocess.run(["git", "-C", str(work), *arguments], check=True, env=reader.environment)
    until("product in the forge", lambda: not reader.admin.is_empty(PRODUCT))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def without_operator_afterwards(details: SiteDetails) -> AsyncIterator[None]:
    """What the walk started in the cluster ends with it."""
    yield
    async with KubeClient.from_kubeconfig(details.kubeconfigs[ACME], namespace="agents") as client:
        for name, namespace in [
            ("guildnet-operator-agents", labels.OPERATOR_NAMESPACE),
            *[(obj["metadata"]["name"], "agents") for obj in await client.list_all(DEPLOYMENTS)],
        ]:
            try:
                await client.delete(DEPLOYMENTS, name, namespace)
            except KubeNotFound:
                continue


@pytest.mark.asyncio(loop_scope="session")
async def test_every_command_does_what_it_says(
    walk: Walk, without_operator_afterwards: None
) -> None:
    """From an empty folder to a pull request, an editor and a page."""
    await asyncio.to_thread(_go, walk)
    left_out = [line for line in commands() if line not in walk.done]
    assert left_out == ["make install && . .venv/bin/activate"]


def _go(walk: Walk) -> None:
    walk.run("guildnet init")
    walk.run("org add acme")
    walk.run("org install acme")
    walk.run("secret set acme")
    walk.run("guildnet doctor acme")
    walk.run("git add .")
    walk.run("git push -u origin main")
    hooks, pages = free_ports(2)
    with (
        walk.running("guildnet reconciler", more=f"--listen 127.0.0.1:{hooks}") as reconciler,
        walk.running("guildnet dashboard", more=f"--listen 127.0.0.1:{pages}") as dashboard,
    ):
        ready, health = f"http://127.0.0.1:{hooks}/ready", f"http://127.0.0.1:{pages}/api/health"
        until("reconciler", lambda: _answers(ready), reconciler.read_text)
        until("dashboard", lambda: _answers(health), dashboard.read_text)
        hook = f"http://127.0.0.1:{hooks}/webhook/gitea"
        walk.admin.add_webhook(STATE, hook, (walk.folder.parent / "hook").read_text())
        walk.run("task new acme/fix-login")
        assert "1 to create" in walk.run("guildnet validate", "guildnet plan")
        walk.run("git push")
        _look(walk, pages, reconciler)


def _look(walk: Walk, pages: int, reconciler: Path) -> None:
    """At once after the push: both verbs wait for the run."""
    with (
        walk.running("guildnet status acme/fix-login --watch") as status,
        walk.running("guildnet logs acme/fix-login -f") as log,
    ):

        def logs() -> str:
            return "\n\n".join(file.read_text()[-4000:] for file in (status, log, reconciler))

        until("result", lambda: "TaskSucceeded" in status.read_text(), logs)
        until("log", lambda: "asked for: Fix the login" in log.read_text(), logs)
    (pull,) = walk.admin.pull_requests(PRODUCT)
    assert pull["head"]["ref"] == labels.agent_branch("acme", "fix-login", 1)
    branch_file = walk.admin.read_file(PRODUCT, "FIXED.md", pull["head"]["ref"])
    assert branch_file == b"Fix the login redirect loop\n"
    with walk.running("guildnet editor acme/fix-login") as said:
        until("password", lambda: "password: " in said.read_text(), said.read_text)
        found = re.search(r"address: +http://fix-login\.acme\.localhost:(\d+)", said.read_text())
        assert found is not None, said.read_text()
        assert _answers(f"http://127.0.0.1:{found[1]}/login")
    page = f"http://127.0.0.1:{pages}/tasks/acme/fix-login"
    # The forge builds links with the address it is asked by, which is another for the agent.
    link = f"{walk.names['https://git.example']}/{PRODUCT}/pulls/{pull['number']}"
    until("pull request on its page", lambda: link in _text(page), lambda: _text(page))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _text(url: str) -> str:
    try:
        return httpx.get(url, timeout=5).text
    except httpx.HTTPError:
        return ""
