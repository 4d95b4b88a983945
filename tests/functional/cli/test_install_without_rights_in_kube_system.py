"""`guildnet org install` by a user who may not grant RBAC in kube-system."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from guildnet.errors import KubeForbidden
from guildnet_cli.cluster.installation import install
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_operator.install import manifests

OBJECTS = [
    obj
    for obj in manifests(
        namespace="agents", image="o", agent_image="o", work_image="w", mesh_image="m", org="acme"
    )
    if obj["kind"] in ("Role", "RoleBinding")
]


class Server:
    """Accepts every apply except those in the namespace `refused`."""

    def __init__(self) -> None:
        self.refused = "kube-system"
        self.taken: list[str] = []

    async def serve(self, request: web.Request) -> web.Response:
        if f"/namespaces/{self.refused}/" in request.path:
            status = {"kind": "Status", "message": "roles is forbidden", "code": 403}
            return web.json_response(status, status=403)
        self.taken.append(request.path)
        return web.json_response(json.loads(await request.read()))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def cluster(server: Server, tmp_path: Path) -> AsyncIterator[OrgCluster]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    kubeconfig = tmp_path / "acme.config"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    yield OrgCluster("acme", kubeconfig, None, "agents")
    await runner.cleanup()


async def test_the_rest_is_installed_and_skipped_objects_are_listed(
    cluster: OrgCluster, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await install(cluster, OBJECTS, timedelta(seconds=10))
    assert len(server.taken) == 2
    assert all("/namespaces/agents/" in path for path in server.taken)
    printed = "".join(capsys.readouterr())
    assert "skipped Role kube-system/guildnet-operator-agents: roles is forbidden" in printed
    assert "well-known labels" in printed


async def test_rbac_in_the_agents_namespace_is_required(
    cluster: OrgCluster, server: Server
) -> None:
    server.refused = "agents"
    with pytest.raises(KubeForbidden):
        await install(cluster, OBJECTS, timedelta(seconds=10))
