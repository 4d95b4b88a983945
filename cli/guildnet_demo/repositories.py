"""The demo's forge and its two repositories: the state repository and a small product."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from guildnet.errors import ForgeUnavailable, GuildNetError
from guildnet_demo.programs import run_program
from guildnet_demo.tasks import ForgeUrls
from guildnet_devcluster import forge, processes
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.progress import Progress

OWNER, BOT, AGENT = "alice", "guildnet-bot", "agent-bot"
STATE, PRODUCT = f"{OWNER}/state", f"{OWNER}/stats"


class Repositories:
    """A Gitea with three users, two repositories, and a work tree of each.

    The owner commits, the bot writes the status branch, the agent pushes its branches.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._http = httpx.AsyncClient(timeout=10)
        self._forge: forge.Forge | None = None
        self.tokens: dict[str, str] = {}

    # --- up and down -------------------------------------------------------------------------

    def up(self, host_address: str, port: int, progress: Progress) -> None:
        """Start the forge, which pods reach at `host_address`, and push the product to it."""
        with progress.step("starting the forge", timedelta(seconds=8)):
            self._forge = forge.up(
                self._folder / "forge",
                listen=f"0.0.0.0:{port}",
                root_url=f"http://{host_address}:{port}",
                progress=progress,
            )
            for user in (OWNER, BOT, AGENT):
                password = secrets.token_urlsafe(18)
                self._admin.create_user(user, password)
                self.tokens[user] = self._admin.create_token(user, password, "demo")
            for repository, writer in ((STATE, BOT), (PRODUCT, AGENT)):
                self._admin.create_repository(repository, private=False)
                self._admin.add_collaborator(repository, writer)
            self._lay_out_product()

    def down(self) -> None:
        """Stop the forge and delete its data."""
        forge.down(self._folder / "forge")

    async def close(self) -> None:
        await self._http.aclose()

    @property
    def logs(self) -> list[Path]:
        return sorted(self._forge_layout.logs.glob("*.log"))

    def check(self) -> None:
        """Raises GuildNetError if the forge has exited."""
        if not all(process.is_alive for process in processes.recorded(self._forge_layout)):
            raise GuildNetError("the forge has exited", place=str(self._forge_layout.logs))

    @property
    def _forge_layout(self) -> Layout:
        return Layout("forge", self._folder / "forge")

    def publish_state(self, webhook: str, secret: str) -> None:
        """Push the state repository, protect `main` and add the webhook."""
        self._push_new(self.state_folder, STATE, "Two orgs")
        self._admin.protect_branch(STATE, "main", pushers=[OWNER])
        self._admin.add_webhook(STATE, webhook, secret)

    def _lay_out_product(self) -> None:
        folder = self.product_folder
        folder.mkdir()
        for file in (resources.files("guildnet_demo") / "product").iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
        self._push_new(folder, PRODUCT, "A small product with a failing test")

    def _push_new(self, folder: Path, repository: str, message: str) -> None:
        self._git(folder, "init", "--quiet", "--initial-branch=main")
        self._git(folder, "remote", "add", "origin", self.clone_url(repository))
        self._commit_all(folder, message)

    def _commit_all(self, folder: Path, message: str) -> str:
        self._git(folder, "add", "--all")
        self._git(folder, "commit", "--quiet", "--message", message)
        self._git(folder, "push", "--quiet", "origin", "main")
        return self._git(folder, "rev-parse", "HEAD").strip()

    def _git(self, folder: Path, *arguments: str) -> str:
        store = self._folder / "credentials"
        if not store.exists():
            store.touch(mode=0o600)
            scheme, _, rest = self._running.url.partition("://")
            store.write_text(f"{scheme}://{OWNER}:{self.tokens[OWNER]}@{rest}\n")
        identity = ("-c", f"user.name={OWNER}", "-c", f"user.email={OWNER}@example.com")
        helper = ("-c", "credential.helper=", "-c", f"credential.helper=store --file={store}")
        return run_program(["git", "-C", str(folder), *identity, *helper, *arguments], os.environ)

    # --- paths and URLs ----------------------------------------------------------------------

    @property
    def state_folder(self) -> Path:
        """A work tree of the state repository."""
        return self._folder / "state-repository"

    @property
    def urls(self) -> ForgeUrls:
        raw = f"{self._running.url}/{PRODUCT}/raw/branch/main/README.md"
        return ForgeUrls(self.clone_url(PRODUCT), raw)

    @property
    def product_folder(self) -> Path:
        """A work tree of the product at its first commit."""
        return self._folder / "product"

    @property
    def host(self) -> str:
        """`ADDRESS:PORT` of the forge, as tasks, Secrets and egress rules name it."""
        return self._running.url.partition("://")[2]

    def clone_url(self, repository: str) -> str:
        return f"{self._running.url}/{repository}.git"

    @property
    def is_up(self) -> bool:
        return self._forge is not None

    @property
    def _running(self) -> forge.Forge:
        assert self._forge is not None
        return self._forge

    @property
    def _admin(self) -> ForgeAdmin:
        return ForgeAdmin(self._running.local_url, self._running.admin_token)

    # --- commits, and what the forge answers -------------------------------------------------

    async def commit(self, files: Mapping[str, str | None], message: str) -> str:
        """Write files of the state repository (None deletes), commit and push; return the id."""
        for path, text in files.items():
            file = self.state_folder / path
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        return await asyncio.to_thread(self._commit_all, self.state_folder, message)

    async def status_file(self, path: str) -> dict[str, Any] | None:
        """A JSON file of the status branch as the forge serves it; None if missing."""
        api = f"/repos/{STATE}/raw/{path}?ref=status"
        answer = await self._forge_get(api)
        return None if answer is None else json.loads(answer.content)

    async def status_tip(self) -> str:
        """The commit id of the status branch; empty if the branch is missing."""
        answer = await self._forge_get(f"/repos/{STATE}/branches/status")
        return "" if answer is None else str(answer.json()["commit"]["id"])

    async def status_branch_text(self) -> str:
        """The whole history of the status branch, as patches with messages."""
        self._git(self.state_folder, "fetch", "--quiet", "origin", "status")
        return self._git(self.state_folder, "log", "--patch", "FETCH_HEAD")

    async def pull_requests(self) -> list[dict[str, Any]]:
        """Every pull request of the product, in any state, as the forge's API returns it."""
        answer = await self._forge_get(f"/repos/{PRODUCT}/pulls?state=all")
        return [] if answer is None else list(answer.json())

    async def pull_request_files(self, number: int) -> list[str]:
        answer = await self._forge_get(f"/repos/{PRODUCT}/pulls/{number}/files")
        return [] if answer is None else [file["filename"] for file in answer.json()]

    async def _forge_get(self, path: str) -> httpx.Response | None:
        headers = {"Authorization": f"token {self.tokens[OWNER]}"}
        try:
            answer = await self._http.get(f"{self._running.url}/api/v1{path}", headers=headers)
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise ForgeUnavailable(f"the forge does not answer: {error!r}") from error
        return answer
