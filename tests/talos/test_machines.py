"""Talos machines of the devcluster, driven by the real talosctl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.talos.remnants import remnants
from typer.testing import CliRunner

from guildnet.errors import ConfigurationError
from guildnet.talos.rules import org_talos_problems
from guildnet.validation import schema_problems
from guildnet_cli.main import app
from guildnet_devcluster import cluster
from guildnet_devcluster.layout import Layout
from guildnet_devcluster.progress import progress_to
from guildnet_devcluster.talos import site
from guildnet_devcluster.talos.site import Site


def talosctl(lab: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run talosctl against the first machine in maintenance mode."""
    command = [str(lab.talosctl), *arguments, "--nodes", lab.control_plane.address, "--insecure"]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)


def test_a_new_machine_waits_in_maintenance_mode(maintenance_site: Site) -> None:
    """It answers without a certificate, is a container by its own account, and has no disk."""
    version = talosctl(maintenance_site, "version")
    assert version.returncode == 0, version.stderr
    assert f"v{maintenance_site.talos_version}" in version.stdout
    platform = talosctl(maintenance_site, "get", "platformmetadata", "--output", "json")
    assert json.loads(platform.stdout)["spec"]["platform"] == "container"
    disks = talosctl(maintenance_site, "get", "disks", "--output", "json")
    assert "/dev/vda" not in disks.stdout


def test_a_configuration_with_the_site_s_patches_is_accepted(
    maintenance_site: Site, tmp_path: Path
) -> None:
    """The server validates it; a newer Kubernetes than Talos supports is refused by name."""
    lab = maintenance_site
    accepted = talosctl(lab, "apply-config", "--dry-run", "--file", _generate(lab, tmp_path, ""))
    assert accepted.returncode == 0, accepted.stderr
    newer = _generate(lab, tmp_path, "1.37.2")
    refused = talosctl(lab, "apply-config", "--dry-run", "--file", newer)
    assert refused.returncode != 0
    assert "too new" in refused.stderr


def _generate(lab: Site, folder: Path, kubernetes: str) -> str:
    gen = [
        *(str(lab.talosctl), "gen", "config", "lab", f"https://{lab.control_plane.address}:6443"),
        *("--kubernetes-version", kubernetes or lab.kubernetes_version, "--output", str(folder)),
        *("--config-patch", f"@{lab.patches.all}", "--force"),
        *("--config-patch-control-plane", f"@{lab.patches.control_plane}"),
    ]
    subprocess.run(gen, check=True, capture_output=True)
    return str(folder / "controlplane.yaml")


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a site that is removed after the test."""
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(tmp_path / "state"))
    name = f"t-own-{os.getpid()}"
    yield name
    cluster.down(name)


def test_down_leaves_nothing_of_machines_whose_up_was_killed(name: str) -> None:
    """`up` dies while it starts the machines; `down` finds them without complete records."""
    program = Path(sys.executable).parent / "guildnet"
    command = [str(program), "devcluster", "up", name, "--talos", "--maintenance"]
    layout = Layout.of(name)
    record = layout.processes / "machine-cp1.json"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as starting:
        while not record.exists():
            assert starting.poll() is None, "up ended before it started a machine"
            time.sleep(0.005)
        starting.kill()
    lab = site.get(name, progress_to())
    assert len(remnants(lab)) > 10
    record.unlink()
    layout.record.unlink()
    cluster.down(name)
    assert remnants(lab) == set()
    assert not layout.data.exists()


def test_another_number_of_workers_is_refused_for_existing_machines(
    maintenance_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = maintenance_site.layout.data.parents[1]
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(state))
    with pytest.raises(ConfigurationError, match="other machines: Talos machines cp1"):
        site.up(maintenance_site.layout.name, workers=1, progress=progress_to())
    with pytest.raises(ConfigurationError, match="0 to 7"):
        site.up("many", workers=8, progress=progress_to())


def test_up_prints_the_section_of_an_org_for_machines_that_wait(
    maintenance_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is valid as it is printed, and names patches that exist."""
    lab = maintenance_site
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(lab.layout.data.parents[1]))
    arguments = ["devcluster", "up", lab.layout.name, "--talos", "--maintenance"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    spec = yaml.safe_load(done.stdout.replace("ORG", "acme"))
    assert list(org_talos_problems("acme", spec)) == []
    faults = schema_problems({"spec": spec}, {}, "org.yaml", "org")
    assert [str(fault) for fault in faults if "talos" in str(fault)] == []
    names = {Path(each["path"]).name for each in spec["talos"]["patches"]}
    assert names == {lab.patches.all.name, lab.patches.control_plane.name}
    assert str(lab.patches.all) in done.stderr
    assert spec["talos"]["controlPlanes"] == [lab.control_plane.address]
