"""`guildnet demo`: what it is given is checked first; one that is kept is not ended unasked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import ConfigurationError
from guildnet_cli.demo import keeping
from guildnet_cli.demo.surroundings import services_in
from guildnet_devcluster import processes

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet


@pytest.fixture
def folder() -> Path:
    """Where `guildnet demo` would live."""
    return Path(os.environ["GUILDNET_STATE_DIR"]) / "demo"


@pytest.fixture
def service(folder: Path) -> Iterator[processes.Process]:
    """Something that a demo left running."""
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    started = processes.start(services_in(folder), "reconciler", argv)
    yield started
    processes.end([started], timedelta())


def test_clusters_of_ones_own_need_all_that_goes_with_them(
    guildnet: Guildnet, tmp_path: Path
) -> None:
    """I10: before anything is started, and by the option's name."""
    file = tmp_path / "kubeconfig"
    file.touch()
    one = guildnet("demo", "--kubeconfig", f"acme={file}")
    assert one.code == 2
    assert "give --kubeconfig for each of acme, globex" in one.err
    pairs = ("--kubeconfig", f"acme={file}", "--kubeconfig", f"globex={file}")
    both = guildnet("demo", *pairs, "--image", "op:1")
    assert both.code == 2
    assert "--kubeconfig needs --work-image, --host-address as well" in both.err


def test_a_kept_demo_is_told_with_its_addresses_and_goes_on(
    guildnet: Guildnet, folder: Path, service: processes.Process
) -> None:
    """I10."""
    keeping.note_kept(folder, {"dashboard": "http://127.0.0.1:1"})
    answer = guildnet("demo")
    assert answer.code == 1
    assert "a demo that was kept is still running" in answer.err
    assert "dashboard: http://127.0.0.1:1" in answer.err
    assert "guildnet demo --down" in answer.err
    assert service.is_alive


def test_down_ends_a_kept_demo(
    guildnet: Guildnet, folder: Path, service: processes.Process
) -> None:
    keeping.note_kept(folder, {})
    assert guildnet("demo", "--down").code == 0
    assert not service.is_alive
    assert not folder.exists()
    assert guildnet("demo", "--down").code == 0


def test_one_that_did_not_outlive_a_reboot_stops_no_other(folder: Path) -> None:
    keeping.note_kept(folder, {})
    keeping.refuse_while_kept(folder)


def test_two_at_once_do_not_meet(folder: Path) -> None:
    with (
        keeping.alone(folder),
        pytest.raises(ConfigurationError, match="another `guildnet demo` is at work"),
        keeping.alone(folder),
    ):
        pass
    with keeping.alone(folder):
        assert folder.parent.is_dir()


def test_a_cluster_that_is_gone_is_named_with_the_way_out(guildnet: Guildnet, folder: Path) -> None:
    """I10: an own cluster that the demo cannot leave is told, and can be given up."""
    folder.mkdir(parents=True)
    noted = '{"acme": ["/nowhere/config", {"definition": false, "operators_namespace": false}]}'
    (folder / "own-clusters.json").write_text(noted)
    answer = guildnet("demo", "--down")
    assert answer.code == 1
    assert "could not be taken out" in answer.err
    assert f"rm {folder}/own-clusters.json" in answer.err
