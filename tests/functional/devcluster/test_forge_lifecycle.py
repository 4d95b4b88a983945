"""A real Gitea: started, restarted after a crash at another address, and removed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from guildnet.errors import GuildNetError
from guildnet_devcluster import forge, processes
from guildnet_devcluster.components import ensure
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.progress import progress_to


@pytest.fixture(scope="module")
def has_gitea() -> None:
    """Build Gitea before a test's own HOME hides the Go caches."""
    try:
        ensure("gitea", progress_to())
    except GuildNetError as error:
        pytest.skip(f"Gitea cannot be built here: {error}")


@pytest.fixture
def data(has_gitea: None) -> Iterator[Path]:
    # Not accessible to other users, like a home folder.
    folder = Path(tempfile.mkdtemp(prefix="guildnet-test-forge-"))
    yield folder
    forge.down(folder)
    shutil.rmtree(folder)


def _up(data: Path) -> forge.Forge:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    return forge.up(data, listen=listen, root_url=None, progress=progress_to())


def _process(data: Path) -> processes.Process:
    [process] = processes.recorded(Layout("forge", data))
    return process


def test_data_survives_a_crash_and_down_removes_everything(data: Path) -> None:
    """Also I8: only the owner can read the admin's token."""
    first = _up(data)
    ForgeAdmin(first.local_url, first.admin_token).create_organization("acme")
    crashed = _process(data)
    os.kill(crashed.pid, signal.SIGKILL)

    second = _up(data)

    assert second.local_url != first.local_url
    assert second.admin_token == first.admin_token
    with pytest.raises(GuildNetError, match="already exists"):
        ForgeAdmin(second.local_url, second.admin_token).create_organization("acme")
    assert (data / "admin-token").stat().st_mode & 0o077 == 0

    running = _process(data)
    home = Path((Path("/proc") / str(running.pid) / "exe").readlink()).parent
    forge.down(data)

    assert not running.is_alive
    assert not home.exists()
    assert list(data.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(second.local_url)
    forge.down(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
def test_it_never_runs_as_root(data: Path) -> None:
    _up(data)

    status = (Path("/proc") / str(_process(data).pid) / "status").read_text()

    nobody = pwd.getpwnam("nobody").pw_uid
    assert f"Uid:\t{nobody}\t{nobody}\t{nobody}\t{nobody}" in status
    assert "NoNewPrivs:\t1" in status
    assert "Groups:\t \n" in status
