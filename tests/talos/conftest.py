"""Real Talos machines for the tests of this tier, shared by the session where tests allow it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to
from guildnet_devcluster.talos import site
from guildnet_devcluster.talos.site import Site


@pytest.fixture(scope="session")
def talos_folder() -> Iterator[Path]:
    """The state folder of the session's Talos machines."""
    with tempfile.TemporaryDirectory(prefix="gn-talos-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def maintenance_site(talos_folder: Path) -> Iterator[Site]:
    """One machine in maintenance mode for the session. Tests must not configure it for good."""
    name = f"t-wait-{os.getpid()}"
    # Tests may point GUILDNET_STATE_DIR elsewhere; up and down must both see this one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(talos_folder))
        try:
            started = site.up(name, workers=0, progress=progress_to())
            patch.undo()
            yield started
        finally:
            patch.setenv("GUILDNET_STATE_DIR", str(talos_folder))
            cluster.down(name)
