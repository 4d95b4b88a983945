"""`talos.reconcile` on real machines: drift by hand is reported and reverted, absence noticed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.functional.reconciler.stand_in import until
from tests.talos.admin import Admin

from guildnet_devcluster.build_cache import exclusive
from guildnet_devcluster.kube_client import KubeClient
from guildnet_devcluster.talos import kubernetes, machine
from guildnet_devcluster.talos.site import Site
from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.settings import Settings

CRD = (Path(__file__).parents[2] / "crds/agenttasks.yaml").read_text()
PATIENCE = 180.0
BY_HAND = '{"machine": {"nodeLabels": {"by": "hand"}}}'


def org_file(lab: Site, reconcile: str, patches: list[tuple[str, str]]) -> str:
    talos = {
        "endpoint": f"https://{lab.control_plane.address}:6443",
        "version": f"v{lab.talos_version}",
        "kubernetesVersion": f"v{lab.kubernetes_version}",
        "controlPlanes": [lab.control_plane.address],
        "workers": [each.address for each in lab.workers],
        "patches": [{"target": target, "path": path} for target, path in patches],
        "reconcile": reconcile,
    }
    spec = {"cluster": {"kubeconfig": "acme", "namespace": "agents"}, "talos": talos}
    meta = {"apiVersion": "guildnet.io/v1alpha1", "kind": "Org", "metadata": {"name": "acme"}}
    return json.dumps({**meta, "spec": spec}, indent=1)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(admin: Admin) -> None:
    git(admin.checkout, "add", "-A")
    git(admin.checkout, "commit", "-q", "--allow-empty", "-m", "change")
    git(admin.checkout, "push", "-q", "origin", "HEAD:main")


@pytest.fixture(scope="module")
def patches() -> list[tuple[str, str]]:
    return []


@pytest.fixture(scope="module")
def keeping(
    kubernetes_site: Site,
    patches: list[tuple[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Admin:
    """An admin with a state repository whose machines are as git says."""
    lab, folder = kubernetes_site, tmp_path_factory.mktemp("keeping")
    admin = Admin(lab, folder / "checkout", folder / "state")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder / "repo.git"], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", admin.checkout], check=True)
    git(admin.checkout, "remote", "add", "origin", str(folder / "repo.git"))
    for name, source in (
        ("talos/acme/secrets.yaml", kubernetes.talosconfig(lab).with_name("secrets.yaml")),
        ("kube/acme.config", lab.layout.kubeconfig),
    ):
        (admin.state / name).parent.mkdir(parents=True, mode=0o700)
        shutil.copy(source, admin.state / name)
    for option in admin.patch_options()[1::2]:
        target, _, file = option.partition("=")
        path = f"orgs/acme/talos/{Path(file).name}"
        admin.write(path, Path(file).read_text())
        patches.append((target, path))
    admin.write("orgs/acme.yaml", org_file(lab, "report", patches))
    commit(admin)
    api = KubeClient(lab.layout.kubeconfig)
    api.ensure("/api/v1/namespaces", {"metadata": {"name": "agents"}})
    api.ensure("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(CRD))
    applied = admin.guildnet("talos", "apply", "acme")
    assert applied.code == 0, applied.out + applied.err
    return admin


@asynccontextmanager
async def reconciling(admin: Admin) -> AsyncIterator[ReconcilerService]:
    settings = Settings(
        repo=str(repository(admin)),
        state_dir=admin.state,
        listen=None,
        status_interval=timedelta(milliseconds=100),
        machine_interval=timedelta(seconds=2),
    )
    reconciler = ReconcilerService(settings)
    await reconciler.open_status()
    reconciler.start(triggers=True)
    try:
        yield reconciler
    finally:
        await reconciler.close()


def repository(admin: Admin) -> Path:
    return admin.checkout.with_name("repo.git")


def recorded(admin: Admin, address: str) -> dict[str, Any]:
    """A machine on the status branch."""
    try:
        record = json.loads(git(repository(admin), "show", "status:orgs/acme/org.json"))
    except subprocess.CalledProcessError:
        return {}
    machines = record.get("talos", {}).get("machines", ())
    return {key: value for m in machines if m["address"] == address for key, value in m.items()}


async def until_state(admin: Admin, address: str, state: str) -> dict[str, Any]:
    try:
        await until(lambda: recorded(admin, address).get("state") == state, PATIENCE)
    except TimeoutError:
        raise AssertionError(f"not {state}: {recorded(admin, address)}") from None
    return recorded(admin, address)


@pytest.fixture(autouse=True)
def program(kubernetes_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{kubernetes_site.talosctl.parent}:{os.environ['PATH']}")


async def test_drift_by_hand_is_reported_and_with_apply_reverted(
    keeping: Admin, patches: list[tuple[str, str]]
) -> None:
    lab = keeping.lab
    plane, worker = lab.control_plane.address, lab.workers[0].address
    async with reconciling(keeping):
        await until_state(keeping, plane, "inSync")
        assert (await until_state(keeping, worker, "inSync"))["version"] == f"v{lab.talos_version}"
        keeping.talosctl("patch", "machineconfig", "--patch", BY_HAND, machine=worker)
        drifted = await until_state(keeping, worker, "drifted")
        assert "-        by: ***" in drifted["diff"]
        assert recorded(keeping, plane)["state"] == "inSync"
        assert keeping.guildnet("talos", "diff", "acme").code == 1
        status = keeping.guildnet("status", "acme", "--repo", str(repository(keeping)))
        assert f"{worker}: drifted" in status.out, status.out + status.err
        keeping.write("orgs/acme.yaml", org_file(lab, "apply", patches))
        commit(keeping)
        applied = await until_state(keeping, worker, "inSync")
        assert applied["appliedAt"]
        assert keeping.guildnet("talos", "diff", "acme").code == 0
        # And again, with nobody asking.
        keeping.talosctl("patch", "machineconfig", "--patch", BY_HAND, machine=worker)
        await until(lambda: recorded(keeping, worker)["appliedAt"] != applied["appliedAt"], 60)
        assert keeping.guildnet("talos", "diff", "acme").code == 0


async def test_a_machine_that_is_away_is_reported_and_its_return_noticed(keeping: Admin) -> None:
    lab = keeping.lab
    (worker,) = lab.workers
    async with reconciling(keeping):
        await until_state(keeping, worker.address, "inSync")
        with exclusive(lab.layout.lock):
            machine.stop(lab.layout, worker)
            try:
                away = await until_state(keeping, worker.address, "unreachable")
            finally:
                lab.boot([worker])
        assert "does not answer" in away["message"]
        assert recorded(keeping, lab.control_plane.address)["state"] == "inSync"
        await until_state(keeping, worker.address, "inSync")
