"""A real Gitea that serves SSH, an organisation's owner with a token, and a person who may push."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from guildnet.errors import GuildNetError
from guildnet_devcluster import forge
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.progress import progress_to

PASSWORD = "a-long-password-of-a-person"
_SCOPES = ("write:repository", "write:user", "write:organization")


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


@dataclass(frozen=True)
class Site:
    """A running forge: `owner` owns the organisation acme, `person` may write its repositories."""

    admin: ForgeAdmin
    url: str
    owner_token: str
    person_token: str
    numbers: Iterator[int]

    def new_name(self) -> str:
        """The name of a repository that does not exist yet."""
        return f"acme/state-{next(self.numbers)}"

    def page(self, name: str) -> str:
        return f"{self.url}/{name}"

    def clone_url(self, name: str, token: str) -> str:
        return f"{self.url}/{name}.git".replace("://", f"://x:{token}@")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    data = Path(tempfile.mkdtemp(prefix="guildnet-test-bootstrap-"))
    try:
        served = forge.up(
            data,
            listen=free_address(),
            root_url=None,
            progress=progress_to(),
            ssh_listen=free_address(),
        )
        admin = ForgeAdmin(served.local_url, served.admin_token)
        tokens = []
        for user in ("owner", "person"):
            admin.create_user(user, PASSWORD)
            tokens.append(admin.create_token(user, PASSWORD, "t", _SCOPES))
        ForgeAdmin(served.local_url, tokens[0]).create_organization("acme")
        yield Site(admin, served.url, tokens[0], tokens[1], itertools.count(1))
    except GuildNetError as error:
        pytest.skip(f"no Gitea here: {error}")
    finally:
        forge.down(data)
        shutil.rmtree(data)


@dataclass(frozen=True)
class Machine:
    """A machine with a state folder of its own, on which an admin runs the command."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "GUILDNET_STATE_DIR": str(self.folder / "state")}

    def bootstrap(self, *arguments: str, token: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "guildnet_cli.main", "bootstrap", *arguments],
            env={**self.environment, "GUILDNET_FORGE_TOKEN": token},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert token not in done.stdout + done.stderr
        return done

    def git(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "machine").mkdir()
    return Machine(tmp_path / "machine")
