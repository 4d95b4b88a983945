"""`guildnet demo` checks its options first and does not stop a demo started with --keep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import ConfigurationError
from guildnet_demo import instance
from guildnet_demo.environment import services_in
from guildnet_devcluster import processes

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet


@pytest.fixture
def folder() -> Path:
    """The folder of `guildnet demo`."""
    return Path(os.environ["GUILDNET_STATE_DIR"]) / "demo"


@pytest.fixture
def service(folder: Path) -> Iterator[processes.Process]:
    """A process that a demo left running."""
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    started = processes.start(services_in(folder), "reconciler", argv)
    yield started
    processes.stop([started], timedelta())


def test_own_clusters_require_images_and_a_host_address(guildnet: Guildnet, tmp_path: Path) -> None:
    """I10: the error comes before anything is started and names the options."""
    file = tmp_path / "kubeconfig"
    file.touch()
    one = guildnet("demo", "--kubeconfig", f"acme={file}")
    assert one.code == 2
    assert "give --kubeconfig for each of acme, globex" in one.err
    pairs = ("--kubeconfig", f"acme={file}", "--kubeconfig", f"globex={file}")
    both = guildnet("demo", *pairs, "--image", "op:1")
    assert both.code == 2
    assert "--kubeconfig also requires --work-image, --host-address" in both.err
    whole = ("--image", "op:1", "--work-image", "work:1", "--host-address", "192.0.2.1", "--mesh")
    meshed = guildnet("demo", *pairs, *whole)
    assert meshed.code == 2
    assert "--mesh requires the demo's own clusters" in meshed.err


def test_a_kept_demo_is_reported_with_its_addresses_and_keeps_running(
    guildnet: Guildnet, folder: Path, service: processes.Process
) -> None:
    """I10."""
    instance.note_kept(folder, {"dashboard": "http://127.0.0.1:1"})
    answer = guildnet("demo")
    assert answer.code == 1
    assert "a demo started with --keep is still running" in answer.err
    assert "dashboard: http://127.0.0.1:1" in answer.err
    assert "guildnet demo --down" in answer.err
    assert service.is_alive


def test_down_stops_a_kept_demo(
    guildnet: Guildnet, folder: Path, service: processes.Process
) -> None:
    instance.note_kept(folder, {})
    assert guildnet("demo", "--down").code == 0
    assert not service.is_alive
    assert not folder.exists()
    assert guildnet("demo", "--down").code == 0


def test_a_kept_demo_whose_processes_are_gone_blocks_no_new_one(folder: Path) -> None:
    instance.note_kept(folder, {})
    instance.refuse_while_kept(folder)


def test_a_second_demo_is_refused(folder: Path) -> None:
    with (
        instance.exclusive(folder),
        pytest.raises(ConfigurationError, match="another `guildnet demo` is running"),
        instance.exclusive(folder),
    ):
        pass
    with instance.exclusive(folder):
        assert folder.parent.is_dir()


def test_a_cluster_that_does_not_answer_is_named_with_what_to_do(
    guildnet: Guildnet, folder: Path
) -> None:
    """I10: a cluster that the demo cannot clean up is named, and can be abandoned."""
    folder.mkdir(parents=True)
    noted = '{"acme": ["/nowhere/config", {"definition": false, "operators_namespace": false}]}'
    (folder / "existing-clusters.json").write_text(noted)
    answer = guildnet("demo", "--down")
    assert answer.code == 1
    assert "could not be removed" in answer.err
    assert f"rm {folder}/existing-clusters.json" in answer.err
