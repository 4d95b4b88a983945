"""`guildnet doctor` checks how agents resolve names and whether their processes are limited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from guildnet_cli.cluster.checks import CheckResult, check_one
from guildnet_cli.cluster.org_cluster import OrgCluster

DNS = "/api/v1/namespaces/kube-system/services/kube-dns"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system"
BINDING = f"{RBAC}/rolebindings/guildnet-operator-agents"
NODES = "/api/v1/nodes"
CONFIG = "/api/v1/nodes/one/proxy/configz"


@pytest.fixture
def answers() -> dict[str, Any]:
    """The API server's answers by path; a number is the status of a refusal."""
    return {
        "/version": {"gitVersion": "v1.36.2"},
        DNS: {"metadata": {"name": "kube-dns"}},
        BINDING: {"metadata": {"name": "guildnet-operator-agents"}},
        NODES: {"metadata": {}, "items": [{"metadata": {"name": "one"}}]},
        CONFIG: {"kubeletconfig": {"podPidsLimit": 4096}},
    }


@pytest.fixture
async def cluster(answers: dict[str, Any], tmp_path: Path) -> AsyncIterator[OrgCluster]:
    async def serve(request: web.Request) -> web.Response:
        found = answers.get(request.path, 404)
        if isinstance(found, int):
            name = request.path.rpartition("/")[2]
            status = {"kind": "Status", "message": f'"{name}" {found}', "code": found}
            return web.json_response(status, status=found)
        return web.json_response(found)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    kubeconfig = tmp_path / "acme.config"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    yield OrgCluster("acme", kubeconfig, None, "agents")
    await runner.cleanup()


async def finding(cluster: OrgCluster, check: str) -> CheckResult:
    return next(found for found in await check_one(cluster) if found.check == check)


async def test_a_missing_role_in_kube_system_is_a_fault(
    cluster: OrgCluster, answers: dict[str, Any]
) -> None:
    assert (await finding(cluster, "cluster DNS")).good
    answers[BINDING] = 404
    found = await finding(cluster, "cluster DNS")
    assert not found.good
    assert "may not read Service kube-dns" in found.message
    assert "guildnet org install acme" in found.cure


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "Service kube-dns in kube-system does not exist"), (403, "not checked")],
)
async def test_a_cluster_with_another_dns_is_explained(
    cluster: OrgCluster, answers: dict[str, Any], status: int, message: str
) -> None:
    answers[DNS] = status
    found = await finding(cluster, "cluster DNS")
    assert found.good
    assert message in found.message


@pytest.mark.parametrize(
    ("path", "answer", "message"),
    [
        (CONFIG, {"kubeletconfig": {"podPidsLimit": 4096}}, "4096 processes per pod"),
        (CONFIG, {"kubeletconfig": {"podPidsLimit": -1}}, "no limit on one"),
        (CONFIG, {"kubeletconfig": None}, "set podPidsLimit"),
        (CONFIG, 403, "not checked"),
        (NODES, 403, "not checked"),
        (NODES, {"metadata": {}, "items": []}, "the cluster has no nodes"),
    ],
)
async def test_the_process_limit_of_nodes_is_named(
    cluster: OrgCluster, answers: dict[str, Any], path: str, answer: Any, message: str
) -> None:
    answers[path] = answer
    found = await finding(cluster, "process limit")
    assert found.good
    assert message in found.message
