"""The life of a release on a real API server without nodes: objects are validated, none runs."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.helm import CONTROL_PLANE_CHART, OPERATOR_CHART, Helm, program

from guildnet import labels, schema
from guildnet.kube import (
    AGENT_TASKS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    KubeClient,
)
from guildnet_cli.cluster.installation import FIELD_MANAGER, in_order
from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to
from guildnet_operator.install import manifests

CRD = str(schema.crd()["metadata"]["name"])
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
VALUES = {"org": "acme"}
TASK = {
    "apiVersion": labels.API_VERSION,
    "kind": "AgentTask",
    "metadata": {"name": "one"},
    "spec": {"prompt": "do it", "run": 1, "agent": {"command": ["true"]}},
}


@pytest.fixture(scope="module")
def own_control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A control plane for this file: the CRD of the session's is in use by other tests."""
    name = f"t-helm-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(tmp_path_factory.mktemp("control-plane")))
        try:
            yield cluster.up(name, node=False, progress=progress_to()).kubeconfig
        finally:
            cluster.down(name)


@pytest.fixture
def helm(own_control_plane: Path, tmp_path: Path) -> Helm:
    return Helm(program("helm"), tmp_path / "helm", own_control_plane)


@pytest.fixture
def client_of(own_control_plane: Path) -> Any:
    return lambda namespace: KubeClient.from_kubeconfig(own_control_plane, namespace=namespace)


async def call(helm: Helm, *arguments: str, values: Any = None) -> str:
    return await asyncio.to_thread(helm.run, *arguments, values=values)


async def eventually(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def chart_with_another_column(folder: Path) -> Path:
    """The operator's chart as a later release may have it: the CRD has one more column."""
    chart = folder / "guildnet-operator"
    shutil.copytree(OPERATOR_CHART, chart)
    file = chart / "files" / "agenttasks.yaml"
    crd = yaml.safe_load(file.read_text())
    crd["spec"]["versions"][0]["additionalPrinterColumns"].append(
        {"name": "Later", "type": "string", "jsonPath": ".status.phase"}
    )
    file.write_text(yaml.safe_dump(crd))
    return chart


async def columns(client: KubeClient) -> list[str]:
    crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, CRD)
    return [each["name"] for each in crd["spec"]["versions"][0]["additionalPrinterColumns"]]


async def test_the_operators_chart_from_install_to_uninstall(
    helm: Helm, client_of: Any, tmp_path: Path
) -> None:
    """I1: neither an upgrade, a rollback nor an uninstall deletes an AgentTask."""
    at = ("acme", "--namespace", labels.OPERATOR_NAMESPACE)
    later = chart_with_another_column(tmp_path)
    async with client_of("agents") as client:
        await call(helm, "install", *at, str(OPERATOR_CHART), "--create-namespace", values=VALUES)
        await eventually(lambda: _is_served(client))
        task = await client.create(TASK)

        # An upgrade upgrades the CRD, and a rollback takes it back.
        await call(helm, "upgrade", *at, str(later), values=VALUES)
        assert "Later" in await columns(client)
        await call(helm, "rollback", *at)
        assert "Later" not in await columns(client)

        # A broken upgrade names the object and the field, and the next one repairs the release.
        broken = {**VALUES, "resources": {"limits": {"memory": "much"}}}
        done = await asyncio.to_thread(
            helm.call, "upgrade", *at, str(OPERATOR_CHART), values=broken
        )
        assert done.returncode != 0
        assert "guildnet-operator-agents" in done.stderr
        assert "quantities must match" in done.stderr
        await call(helm, "upgrade", *at, str(later), values=VALUES)
        assert '"deployed"' in await call(helm, "status", *at, "--output", "json")

        await call(helm, "uninstall", *at)
        assert await client.find(DEPLOYMENTS, "guildnet-operator-agents", at[-1]) is None
        kept = await client.get(AGENT_TASKS, "one")
        assert kept["metadata"]["uid"] == task["metadata"]["uid"]

        # The next release takes over what was kept; the one after it may delete everything.
        asked = {**VALUES, "crds": {"keep": False}, "agents": {"keepNamespace": False}}
        await call(helm, "install", *at, str(OPERATOR_CHART), values=asked)
        assert await client.find(AGENT_TASKS, "one")
        await call(helm, "uninstall", *at)
        await eventually(lambda: _is_gone(client))


async def _is_served(client: KubeClient) -> bool:
    crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, CRD)
    conditions = {c["type"]: c["status"] for c in crd.get("status", {}).get("conditions", ())}
    return conditions.get("Established") == "True"


async def _is_gone(client: KubeClient) -> bool:
    return (
        await client.find(CUSTOM_RESOURCE_DEFINITIONS, CRD) is None
        and await client.find(NAMESPACES, "agents") is None
    )


async def test_helm_takes_over_what_org_install_applied(helm: Helm, client_of: Any) -> None:
    image = "localhost/guildnet-operator:latest"
    own = manifests(
        namespace="globex-agents",
        image=image,
        agent_image=image,
        work_image="localhost/guildnet-work:latest",
        mesh_image="localhost/guildnet-mesh:latest",
        org="globex",
    )
    async with client_of("globex-agents") as client:
        for obj in in_order([schema.crd(), *own]):
            if obj["kind"] == "Namespace":
                await client.ensure_namespace(obj["metadata"]["name"], obj["metadata"]["labels"])
            else:
                await client.apply(obj, field_manager=FIELD_MANAGER)
        before = await client.get(
            DEPLOYMENTS, "guildnet-operator-globex-agents", labels.OPERATOR_NAMESPACE
        )
        await call(
            helm,
            *("install", "globex", str(OPERATOR_CHART), "--take-ownership", "--force-conflicts"),
            *("--namespace", labels.OPERATOR_NAMESPACE),
            values={"org": "globex", "agents": {"namespace": "globex-agents"}},
        )
        after = await client.get(
            DEPLOYMENTS, "guildnet-operator-globex-agents", labels.OPERATOR_NAMESPACE
        )
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["spec"]["template"] == before["spec"]["template"]  # no agent is interrupted


async def test_the_control_planes_pods_pass_the_restricted_standard(
    helm: Helm, client_of: Any
) -> None:
    """The API server admits them; upgrades, rollbacks and uninstalls leave nothing behind."""
    at = ("guildnet", "--namespace", "guildnet")
    values = {
        "repository": {"url": "https://git.example/ops/state.git", "existingSecret": "git"},
        "reconciler": {"webhook": {"existingSecret": "hook"}, "token": {"existingSecret": "token"}},
        "dashboard": {
            "token": {"existingSecret": "viewers"},
            "ingress": {"enabled": True, "host": "guildnet.example"},
        },
    }
    more = {**values, "caBundle": {"existingConfigMap": "authorities"}}
    async with client_of("guildnet") as client:
        await client.ensure_namespace("guildnet", RESTRICTED)
        await call(helm, "install", *at, str(CONTROL_PLANE_CHART), values=values)

        async def admitted() -> bool:
            pods = await client.list_all(PODS)
            return len({pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods}) == 2

        await eventually(admitted)
        await call(helm, "upgrade", *at, str(CONTROL_PLANE_CHART), values=more)
        assert await _authorities(client) == "authorities"
        await call(helm, "rollback", *at)
        assert await _authorities(client) is None
        await call(helm, "uninstall", *at)
        assert await client.list_all(DEPLOYMENTS) == []


async def _authorities(client: KubeClient) -> str | None:
    found = await client.get(DEPLOYMENTS, "guildnet-reconciler")
    volumes = found["spec"]["template"]["spec"]["volumes"]
    names = [v["configMap"]["name"] for v in volumes if v["name"] == "ca"]
    return names[0] if names else None
