"""How a browser signs in to the dashboard under test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from tests.functional.dashboard.conftest import Dashboard

PUBLIC = "https://dash.example"
SESSION = "__Host-guildnet-session"
PAGE = {"Accept": "text/html,*/*"}


async def to_callback(dashboard: Dashboard, path: str = "/") -> str:
    """Ask for a page, be sent to the provider, and return the address that it sends back to."""
    asked = await dashboard.get(path, headers=PAGE)
    assert asked.status_code == 302, asked.text
    begun = await dashboard.get(asked.headers["location"])
    assert begun.status_code == 302, begun.text
    async with httpx.AsyncClient(trust_env=False) as browser:
        return str((await browser.get(begun.headers["location"])).headers["location"])


async def sign_in(dashboard: Dashboard, path: str = "/") -> httpx.Response:
    """Sign in from a page; the answer of the callback."""
    return await dashboard.get(await to_callback(dashboard, path))


@asynccontextmanager
async def other_browser(dashboard: Dashboard) -> AsyncIterator[Dashboard]:
    """The same dashboard, seen by a browser without its cookies."""
    transport = httpx.ASGITransport(dashboard.app)
    async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as client:
        yield Dashboard(dashboard.app, dashboard.follower, client, dashboard.mirror)
