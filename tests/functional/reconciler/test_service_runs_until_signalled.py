"""The service: serves, notices a local commit and a webhook, ends cleanly on SIGTERM."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.functional.half_open import half_open

from guildnet.errors import ConfigurationError
from guildnet.tokens import kept_token
from guildnet_reconciler.main import run
from guildnet_reconciler.settings import Settings

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

SECRET = b"s3cret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)


async def ready(http: httpx.AsyncClient) -> None:
    for _ in range(200):
        try:
            if (await http.get("/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)


async def test_commits_are_noticed_by_watch_and_by_webhook(
    remote: Remote, settings: Settings, tmp_path: Path
) -> None:
    """I10: a bad org file is on the status branch at once, however the commit was noticed."""
    remote.commit({"README.md": "hello"})
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    port = free_port()
    service = asyncio.create_task(
        run(
            replace(
                settings,
                listen=f"127.0.0.1:{port}",
                webhook_secret_file=secret,
                poll=timedelta(hours=1),
            )
        )
    )

    def reported(org: str) -> bool:
        listed = remote.git("ls-tree", "-r", "--name-only", "status", at=remote.path)
        return f"orgs/{org}/org.json" in listed

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        await ready(http)
        remote.commit({"orgs/one.yaml": "kind: Org\n"})
        await until(lambda: reported("one"), "the local watch did not notice the commit")
        body = b'{"ref": "refs/heads/main"}'
        mac = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        remote.commit({"orgs/two.yaml": "kind: Org\n"})
        answer = await http.post("/webhook/gitea", content=body, headers={"X-Gitea-Signature": mac})
        assert answer.status_code == 202
        await until(lambda: reported("two"), "the webhook did not lead to a pass")
        token = (settings.state_dir / "reconciler-token").read_text().strip()
        asked = await http.post("/sync", headers={"Authorization": f"Bearer {token}"})
        assert asked.json()["orgs"] == ["one", "two"]
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(15):
        assert await service == 0


async def test_half_open_connections_keep_no_commit_waiting(
    remote: Remote, settings: Settings
) -> None:
    """I3, I9: git is started and the status branch written while strangers fill the port."""
    remote.commit({"README.md": "hello"})
    port = free_port()
    listening = replace(settings, listen=f"127.0.0.1:{port}", poll=timedelta(hours=1))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    service = asyncio.create_task(run(listening))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15) as http:
            await ready(http)
            async with half_open(port) as opened:
                assert opened == 2000
                remote.commit({"orgs/one.yaml": "kind: Org\n"})
                await until(lambda: "orgs/one" in listed(remote), "the commit was not recorded")
                assert (await http.get("/ready")).json()["ready"]
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await service == 0
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def listed(remote: Remote) -> str:
    return remote.git("ls-tree", "-r", "--name-only", "status", at=remote.path)


def test_other_users_cannot_read_the_token_that_sync_needs(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "reconciler-token"
    before = os.umask(0)
    try:
        made = kept_token(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept_token(path) == made == path.read_text().strip()
    assert os.listdir(path.parent) == [path.name]
    with pytest.raises(ConfigurationError, match="cannot be written"):
        kept_token(tmp_path / "deep" / "reconciler-token" / "below")
