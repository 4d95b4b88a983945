"""`guildnet doctor` of an org with a mesh, with a real Headscale: each fault and its cure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from guildnet import kube, labels
from guildnet.mesh import mesh_policy, mesh_settings
from guildnet_cli.cluster.checks import CheckResult
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.mesh.checks import mesh_checks
from guildnet_cli.mesh.cluster_peer import wanted_peer
from guildnet_devcluster import mesh
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.progress import progress_to


@pytest.fixture(scope="module")
def headscale(mesh_server: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A Headscale of the module's own, whose programs are built: the tests set its policy."""
    folder = tmp_path_factory.mktemp("doctor-mesh")
    try:
        yield mesh.up(folder, progress=progress_to())
    finally:
        mesh.down(folder)


@dataclass(frozen=True)
class Org:
    client: kube.KubeClient
    cluster: OrgCluster
    server: Mesh

    async def settings(self, **own: Any) -> dict[str, Any]:
        """Write ConfigMap guildnet-org as the reconciler does; the org's spec.mesh."""
        given = {"mode": "tailscale", "loginServer": self.server.login_server, **own}
        data = {"org": "acme", "settings": json.dumps({"mesh": given})}
        await self._apply("ConfigMap", labels.ORG_CONFIG_MAP, data=data)
        return given

    async def secret(self, host: str | None = None, **values: str) -> None:
        hosts = host or urlsplit(self.server.login_server).netloc
        values = {"ca.crt": self.server.ca.read_text(), **values}
        await self._apply("Secret", "mesh", stringData=values,
            labels={labels.USE: "mesh"}, annotations={labels.HOSTS: hosts})  # fmt: skip

    async def _apply(self, kind: str, name: str, **given: Any) -> None:
        meta: dict[str, Any] = {
            key: given.pop(key) for key in ("labels", "annotations") if key in given
        }
        meta |= {"name": name, "namespace": self.cluster.namespace}
        obj = {"apiVersion": "v1", "kind": kind, "metadata": meta, **given}
        await self.client.apply(obj, field_manager="test")

    async def checked(self) -> dict[str, CheckResult]:
        return {result.check: result for result in await mesh_checks(self.client, self.cluster)}


@pytest.fixture
async def org(control_plane: Path, headscale: Mesh) -> AsyncIterator[Org]:
    namespace = f"t-{uuid4().hex[:10]}"
    async with kube.KubeClient.from_kubeconfig(control_plane, namespace=namespace) as client:
        await client.ensure_namespace(namespace, {})
        yield Org(client, OrgCluster("acme", control_plane, None, namespace), headscale)
        await client.delete(kube.NAMESPACES, namespace)


async def test_an_org_without_a_mesh_has_no_checks(org: Org) -> None:
    assert await org.checked() == {}
    await org.settings(mode="none", apiSecret="mesh")
    assert await org.checked() == {}


async def test_a_missing_or_unfit_secret_is_named_with_the_command_that_sets_it(org: Org) -> None:
    await org.settings(apiSecret="mesh")
    missing = (await org.checked())["mesh Secret"]
    await org.secret(**{"auth-key": "x"})
    unfit = (await org.checked())["mesh Secret"]
    assert not missing.good
    assert not unfit.good
    assert "no key api-key" in unfit.message
    assert "guildnet secret set acme mesh --use mesh" in unfit.cure


async def test_a_working_mesh_passes_each_check(org: Org) -> None:
    """I8: no value of the Secret is shown."""
    key = org.server.api_key.read_text().strip()
    given = await org.settings(apiSecret="mesh", people=["alice@"])
    await org.secret(**{"api-key": key})
    settings = mesh_settings("acme", given)
    assert settings is not None
    org.server.admin().set_policy(json.dumps(mesh_policy({"acme": settings})))
    results = await org.checked()
    assert [(r.check, r.good) for r in results.values()] == [
        ("mesh Secret", True),
        ("mesh control server", True),
        ("mesh key", True),
        ("mesh policy", True),
    ], results
    assert "expires on" in results["mesh key"].message
    assert "1 people reach tag:guildnet-acme" in results["mesh policy"].message
    assert key not in str(results)


async def test_a_policy_that_differs_is_reported_with_its_differences(org: Org) -> None:
    await org.settings(apiSecret="mesh", people=["alice@"])
    await org.secret(**{"api-key": org.server.api_key.read_text().strip()})
    everything = {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}
    org.server.admin().set_policy(json.dumps(everything))
    result = (await org.checked())["mesh policy"]
    assert not result.good
    assert "* reaches *:* as well" in result.message
    assert "guildnet mesh policy" in result.cure


async def test_an_expired_key_and_a_server_that_is_away_are_told_apart(org: Org) -> None:
    admin = org.server.admin()
    key = admin.create_api_key()
    admin.expire_api_key(key)
    await org.settings(apiSecret="mesh")
    await org.secret(**{"api-key": key})
    expired = (await org.checked())["mesh control server"]
    await org.settings(apiSecret="mesh", loginServer="https://127.0.0.1:9")
    await org.secret("127.0.0.1:9", **{"api-key": key})
    away = (await org.checked())["mesh control server"]
    assert not expired.good
    assert "unknown or has expired" in expired.cure
    assert not away.good
    assert "cannot be used from this machine" in away.message
    assert key not in str([expired, away])


async def test_a_key_that_ends_soon_fails(org: Org) -> None:
    await org.settings(apiSecret="mesh")
    key = org.server.admin().create_api_key(timedelta(hours=20))
    await org.secret(**{"api-key": key})
    result = (await org.checked())["mesh key"]
    assert not result.good
    assert "headscale apikeys create" in result.cure


async def test_doctor_says_what_a_shared_auth_key_costs(org: Org) -> None:
    await org.settings(authKeySecret="mesh")
    await org.secret(**{"auth-key": "some-key"})
    results = await org.checked()
    assert "all agents share" in results["mesh Secret"].message
    assert results["mesh control server"].good
    assert "not compared" in results["mesh policy"].message


async def test_an_api_peer_without_a_pod_is_reported(org: Org) -> None:
    assert "mesh API peer" not in await org.checked()
    await org.client.ensure_namespace(labels.OPERATOR_NAMESPACE, {})
    peer = await wanted_peer(
        org.cluster, login_server=org.server.login_server, image=None, is_new=True
    )
    for obj in peer:
        await org.client.apply(obj, field_manager="test")
    result = (await org.checked())["mesh API peer"]
    for kind in (kube.DEPLOYMENTS, kube.NETWORK_POLICIES, kube.PERSISTENT_VOLUME_CLAIMS):
        name = peer[0]["metadata"]["name"]
        await org.client.delete(kind, name, labels.OPERATOR_NAMESPACE)
    assert not result.good
    assert "acme-api is not on the mesh" in result.message
    assert "logs deploy/" in result.cure
