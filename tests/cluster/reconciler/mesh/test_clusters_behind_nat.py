"""A reconciler reaches, over the mesh, a cluster that it can reach in no other way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from guildnet.mesh import CLUSTER_PORT
from guildnet_cli.mesh.forwarding import NoConnection, Route
from guildnet_devcluster import node_network

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site
    from tests.cluster.reconciler.mesh.conftest import BehindNat

GUILDNET = str(Path(sys.executable).with_name("guildnet"))


def test_nothing_but_the_mesh_leads_to_the_api_server(behind_nat: BehindNat) -> None:
    """The control of the tests below."""
    cluster = yaml.safe_load(behind_nat.direct.read_text())["clusters"][0]["cluster"]
    server = urlsplit(cluster["server"])
    assert server.hostname == "127.0.0.1"
    script = f"import socket; socket.create_connection(('127.0.0.1', {server.port}), 5)"
    here = subprocess.run([sys.executable, "-c", script], check=False)
    there = behind_nat.run(sys.executable, "-c", script)
    assert here.returncode == 0
    assert "ConnectionRefusedError" in there.stderr


async def test_a_machine_without_the_reconcilers_tag_does_not_reach_it(
    behind_nat: BehindNat,
) -> None:
    admin = behind_nat.mesh.admin()
    stranger = behind_nat.mesh.join(
        "stranger", admin.create_auth_key(admin.ensure_user("mallory@"))
    )
    try:
        with pytest.raises(NoConnection):
            await Route("acme-api", CLUSTER_PORT, f"socks5://{stranger.proxy}").connect()
    finally:
        stranger.stop()


@pytest.fixture
def org(behind_nat: BehindNat, site: Site, files: Any) -> Site:
    """An org with a task, whose stored kubeconfig leads over the mesh."""
    org_file, task_file = files
    behind_nat.store_kubeconfig(site.kubeconfig.parent)
    site.repo.commit(
        {
            "orgs/acme.yaml": org_file(namespace=site.namespace),
            "tasks/acme/one.yaml": task_file("one"),
        }
    )
    return site


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_pass_creates_the_agent_tasks_over_the_mesh(
    behind_nat: BehindNat, org: Site, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind_nat.store_kubeconfig(org.kubeconfig.parent, scheme)
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(org.settings.state_dir))

    done = behind_nat.run(GUILDNET, "reconciler", "--repo", str(org.repo.remote), "--once")

    assert done.returncode == 0, done.stderr
    assert await org.names() == {"one"}
    assert org.repo.status("orgs/acme/org.json")["cluster"]["reachable"] is True


@contextmanager
def reconciling(behind_nat: BehindNat, site: Site) -> Iterator[None]:
    """A reconciler runs on the reconciler's machine until the block ends."""
    options = ["--repo", str(site.repo.remote), "--poll", "1s", "--listen", "127.0.0.1:0"]
    log = (site.settings.state_dir / "reconciler.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [*node_network.inside(behind_nat.layout), GUILDNET, "reconciler", *options],
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


async def test_the_peer_goes_away_and_comes_back(
    behind_nat: BehindNat, org: Site, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: the record names the proxy and says when the cluster is there again; nothing is lost."""
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(org.settings.state_dir))
    _, task_file = files
    with reconciling(behind_nat, org):
        await org.until_task("one", lambda obj: obj is not None)
        behind_nat.peer.stop()
        try:
            org.repo.commit({"tasks/acme/two.yaml": task_file("two")})
            record = await org.until_org(lambda r: r.get("cluster", {}).get("reachable") is False)
        finally:
            behind_nat.peer.start(None)
        await org.until_task("two", lambda obj: obj is not None)
        await org.until_org(lambda r: r.get("cluster", {}).get("reachable") is True)
    assert f"through the proxy http://{behind_nat.client.proxy}" in str(record["cluster"])


async def test_the_control_server_goes_away_and_comes_back(
    behind_nat: BehindNat, org: Site, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peers that know each other and need no relay go on without it."""
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(org.settings.state_dir))
    _, task_file = files
    with reconciling(behind_nat, org):
        await org.until_task("one", lambda obj: obj is not None)
        behind_nat.stop_control_server()
        try:
            org.repo.commit({"tasks/acme/two.yaml": task_file("two")})
            await org.until_task("two", lambda obj: obj is not None)
        finally:
            behind_nat.start_control_server()
        org.repo.commit({"tasks/acme/three.yaml": task_file("three")})
        await org.until_task("three", lambda obj: obj is not None)
        await org.until_org(lambda r: r.get("cluster", {}).get("reachable") is True)


async def test_verbs_of_the_command_line_work_over_the_mesh(
    behind_nat: BehindNat, org: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUILDNET_STATE_DIR", str(org.settings.state_dir))
    where = ("--namespace", org.namespace)
    checked = json.loads(behind_nat.run(GUILDNET, "doctor", "acme", *where, "-o", "json").stdout)
    printed = behind_nat.run(GUILDNET, "org", "install", "acme", *where, "--dry-run", "--mesh",
        "--mesh-login-server", behind_nat.mesh.login_server)  # fmt: skip
    kubectl = behind_nat.run(
        str(Path(sys.executable).with_name("kubectl")),
        "--kubeconfig",
        str(org.kubeconfig),
        "version",
    )

    results = {check["check"]: check for check in checked["acme"]}
    assert results["reach"]["good"]
    assert results["namespace"]["good"]
    objects = list(yaml.safe_load_all(printed.stdout))
    [peer] = [o for o in objects if o["metadata"]["name"] == f"guildnet-mesh-{org.namespace}"
              and o["kind"] == "Deployment"]  # fmt: skip
    serve = peer["spec"]["template"]["metadata"]["annotations"]["guildnet.io/mesh-serve"]
    assert json.loads(serve)["TCP"]["6443"]["TCPForward"].endswith(":443")
    assert "Server Version" in kubectl.stdout
