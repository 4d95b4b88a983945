"""`org install --mesh` says what it lacks, and changes nothing that it was not asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from guildnet import kube, labels
from guildnet.errors import ConfigurationError
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.mesh.cluster_peer import check_key, remove_peer, wanted_peer

SERVER = "https://headscale.example:8443"


@pytest.fixture
async def client(control_plane: Path) -> AsyncIterator[kube.KubeClient]:
    async with kube.KubeClient.from_kubeconfig(
        control_plane, namespace=labels.OPERATOR_NAMESPACE
    ) as opened:
        await opened.ensure_namespace(labels.OPERATOR_NAMESPACE, {})
        yield opened


@pytest.fixture
def cluster(control_plane: Path) -> OrgCluster:
    """An org with a namespace of the test's own, so that its peer is another's in no test."""
    return OrgCluster("acme", control_plane, None, f"t-{uuid4().hex[:10]}")


async def test_an_upgrade_without_a_peer_adds_none(cluster: OrgCluster) -> None:
    found = await wanted_peer(cluster, login_server=SERVER, image=None, is_new=False)
    assert found == []


async def test_without_a_control_server_the_error_names_both_ways_to_give_it(
    cluster: OrgCluster,
) -> None:
    with pytest.raises(ConfigurationError) as error:
        await wanted_peer(cluster, login_server=None, image=None, is_new=True)
    assert "--mesh-login-server" in str(error.value)
    assert "spec.mesh.loginServer" in str(error.value)


async def test_a_missing_key_is_reported_with_the_commands_that_store_it(
    cluster: OrgCluster, client: kube.KubeClient
) -> None:
    objects = await wanted_peer(cluster, login_server=SERVER, image=None, is_new=True)
    name = f"guildnet-mesh-{cluster.namespace}"
    with pytest.raises(ConfigurationError) as missing:
        await check_key(cluster, objects)
    meta = {"name": name, "namespace": labels.OPERATOR_NAMESPACE, "labels": {labels.USE: "git"}}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta,
        "stringData": {"auth-key": "k"},
    }
    await client.apply(secret, field_manager="test")
    with pytest.raises(ConfigurationError, match="not for use mesh"):
        await check_key(cluster, objects)
    meta["labels"] = {labels.USE: "mesh"}
    await client.apply(secret, field_manager="test")
    await check_key(cluster, objects)
    await client.delete(kube.SECRETS, name)
    assert "tag:gn-cluster" in str(missing.value)
    assert f"guildnet secret set acme {name} --namespace guildnet-system" in str(missing.value)
    assert "--host headscale.example:8443" in str(missing.value)


async def test_an_installed_peer_keeps_its_control_server_and_image(
    cluster: OrgCluster, client: kube.KubeClient
) -> None:
    for obj in await wanted_peer(cluster, login_server=SERVER, image="mesh:1", is_new=True):
        await client.apply(obj, field_manager="test")
    upgraded = await wanted_peer(cluster, login_server=None, image=None, is_new=False)
    await remove_peer(cluster, timedelta(seconds=30))
    gone = await wanted_peer(cluster, login_server=None, image=None, is_new=False)
    deployment = upgraded[-1]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "mesh:1"
    assert {"name": "TS_EXTRA_ARGS", "value": f"--login-server={SERVER}"} in container["env"]
    assert gone == []
