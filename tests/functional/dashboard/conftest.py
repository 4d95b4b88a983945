"""Runs the dashboard's application on a real bare repository; requests need no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.functional.dashboard.oidc_provider import CLIENT, SECRET, OidcProvider, provided
from tests.functional.dashboard.state_repository import StateRepository

from guildnet.git import Mirror
from guildnet_dashboard.follower import Follower
from guildnet_dashboard.main import build
from guildnet_dashboard.settings import Settings, SignInSettings

DEADLINE = 20.0


@pytest.fixture
def repository(tmp_path: Path) -> StateRepository:
    return StateRepository(tmp_path / "state.git")


@dataclass
class Dashboard:
    """A running application."""

    app: Any
    follower: Follower
    client: httpx.AsyncClient
    mirror: Mirror

    async def get(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return await self.client.request(method, path, headers=headers)

    async def json(self, path: str) -> Any:
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def text(self, path: str) -> str:
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds()` is true, checking after each event of the follower."""
        feed = self.follower.feed
        async with asyncio.timeout(DEADLINE):
            while True:
                serial = feed.serial
                if holds():
                    return
                await feed.after(serial)

    async def shows(self, commit: str) -> None:
        """Wait until the pages show a commit of either branch."""

        def is_shown() -> bool:
            current = self.follower.model.current
            return commit in (current.status, current.source)

        await self.until(is_shown)


Serve = Callable[..., Any]


@pytest.fixture
def serve(repository: StateRepository, tmp_path: Path) -> Serve:
    """`async with serve(token_file=...) as dashboard` starts once the repository was read."""
    local = Settings(
        repository=str(repository.path),
        state_dir=tmp_path / "state",
        poll=timedelta(milliseconds=500),
    )

    @asynccontextmanager
    async def served(*, base: str = "http://localhost", **changes: Any) -> AsyncIterator[Dashboard]:
        settings = replace(local, **changes)
        path = settings.state_dir / "dashboard" / "mirror"
        with Mirror.open(settings.repository, path) as mirror:
            app, follower = build(settings, mirror)
            transport = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=transport, base_url=base) as client,
            ):
                dashboard = Dashboard(app, follower, client, mirror)
                await dashboard.until(lambda: follower.health.ready or bool(follower.health.fault))
                yield dashboard

    return served


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    """A running OpenID Connect provider."""
    async with provided() as found:
        yield found


@pytest.fixture
def signing_in(provider: OidcProvider, tmp_path: Path) -> SignInSettings:
    """Settings of sign-in with the provider."""
    secret = tmp_path / "client-secret"
    secret.write_text(f"{SECRET}\n")
    return SignInSettings(provider.issuer, CLIENT, secret, "https://dash.example")
