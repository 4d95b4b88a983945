"""The webhook secret and the token are files: a replaced one is used at the next request."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import httpx
import pytest

from guildnet.errors import ConfigurationError
from guildnet.secret_files import FollowedSecret
from guildnet.tokens import read_token
from guildnet_reconciler.main import webhook_secret
from guildnet_reconciler.metrics import Metrics
from guildnet_reconciler.server import Hooks, make_app

OLD, NEW = "an-old-secret-of-many-characters", "a-new-secret-of-many-characters"


def mounted(folder: Path, version: str, content: str) -> Path:
    """A file as the kubelet mounts a Secret: below a link that is replaced as a whole."""
    (folder / version).mkdir()
    (folder / version / "value").write_text(content)
    draft = folder / "draft"
    draft.symlink_to(version)
    draft.rename(folder / "..data")
    file = folder / "value"
    if not file.is_symlink():
        file.symlink_to("..data/value")
    return file


async def hook(client: httpx.AsyncClient, secret: str) -> int:
    signature = hmac.new(secret.encode(), b"{}", hashlib.sha256).hexdigest()
    headers = {"X-Gitea-Signature": signature}
    answer = await client.post("/webhook/gitea", content=b"{}", headers=headers)
    return answer.status_code


async def scrape(client: httpx.AsyncClient, token: str) -> int:
    answer = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def test_a_replaced_secret_is_used_at_the_next_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unusable one is reported, and the one before stays in use."""
    file = mounted(tmp_path, "1", OLD)
    app = make_app(
        Hooks(lambda: None, lambda org: [], lambda: (True, {})),
        Metrics(),
        secret=webhook_secret(file),
        branch="main",
        token=FollowedSecret(file, read_token),
    )
    transport = httpx.ASGITransport(app, client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://hooks") as client:
        assert (await hook(client, OLD), await scrape(client, OLD)) == (202, 200)
        assert (await hook(client, NEW), await scrape(client, NEW)) == (401, 401)
        mounted(tmp_path, "2", NEW)
        assert (await hook(client, NEW), await scrape(client, NEW)) == (202, 200)
        assert (await hook(client, OLD), await scrape(client, OLD)) == (401, 401)
        mounted(tmp_path, "3", "\n")
        assert (await hook(client, NEW), await scrape(client, NEW)) == (202, 200)
    assert "the value before stays in use" in caplog.text
    assert "secret-of-many" not in caplog.text


def test_a_missing_secret_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the webhook secret is empty"):
        webhook_secret(tmp_path / "missing")
