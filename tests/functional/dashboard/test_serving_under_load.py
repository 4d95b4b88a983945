"""The server stays available while unauthenticated clients flood its port."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.functional.dashboard.state_repository import StateRepository
from tests.functional.half_open import half_open

from guildnet.errors import ConfigurationError
from guildnet_dashboard.main import run
from guildnet_dashboard.settings import Settings


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    started = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run(settings, started=started.set_result))
    await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield started.result()
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


@pytest.mark.parametrize("tls", [False, True])
async def test_half_open_connections_do_not_lock_clients_out(
    repository: StateRepository, tmp_path: Path, tls: bool
) -> None:
    """I3, I9: event streams stay connected, and new clients are served."""
    repository.orgs("acme", acme=("fix",))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    state = tmp_path / "state"
    settings = Settings(str(repository.path), state, listen="127.0.0.1:0", dev_tls=tls)
    try:
        async with served(settings) as address:
            trusted = ssl.create_default_context()
            for certificate in state.glob("dashboard/tls/*.crt"):
                trusted.load_verify_locations(certificate)
            async with (
                httpx.AsyncClient(base_url=address, verify=trusted, timeout=20) as reader,
                reader.stream("GET", "/api/events") as events,
            ):
                lines = events.aiter_lines()
                assert await anext(lines)
                port = httpx.URL(address).port
                assert port is not None
                async with half_open(port, text="" if tls else "GET / HTTP/1.1\r\n") as opened:
                    assert opened == 2000
                    async with httpx.AsyncClient(
                        base_url=address, verify=trusted, timeout=20
                    ) as new:
                        assert (await new.get("/api/health")).status_code == 200
                    repository.orgs("globex")
                    async for line in lines:
                        if "globex" in line:
                            break
                    assert "globex" in (await reader.get("/")).text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_port_in_use_is_reported(repository: StateRepository, tmp_path: Path) -> None:
    """I10."""
    first = Settings(str(repository.path), tmp_path / "one", listen="127.0.0.1:0")
    async with served(first) as address:
        taken = f"127.0.0.1:{httpx.URL(address).port}"
        with pytest.raises(ConfigurationError, match="cannot listen") as refusal:
            await run(Settings(str(repository.path), tmp_path / "two", listen=taken))
    assert refusal.value.place == f"--listen {taken}"
