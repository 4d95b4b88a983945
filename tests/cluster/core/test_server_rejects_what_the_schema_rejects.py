"""The CRD on a real API server accepts and rejects the same objects as the JSON Schema."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest
from tests.unit.core.schema_mutations import FULL_SPEC, mutations

from guildnet import labels, schema
from guildnet.conditions import Condition, merged
from guildnet.errors import KubeInvalid
from guildnet.kube import AGENT_TASKS, CUSTOM_RESOURCE_DEFINITIONS, KubeClient
from guildnet.merge import RunRef, agent_task
from guildnet.resources import ClusterRef, Org, Source, Task
from guildnet.units import parse_time


@pytest.fixture
async def client(control_plane: Path, namespace: str) -> Any:
    async with KubeClient.from_kubeconfig(control_plane, namespace=namespace) as opened:
        crd = schema.crd()
        await opened.apply(crd, field_manager="test")
        async with asyncio.timeout(60):
            while not await is_served(opened, crd["metadata"]["name"]):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield opened


async def is_served(client: KubeClient, name: str) -> bool:
    found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, name)
    conditions = found.get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def an_agent_task(spec: Any, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {"name": "fix", "namespace": namespace},
        "spec": spec,
    }


async def test_objects_that_we_write_are_accepted(client: KubeClient, namespace: str) -> None:
    prices = {"m-1": {"input": 1, "output": 2}}
    models = {"main": {"protocol": "anthropic", "names": ["m-1"], "prices": prices}}
    cluster, source = ClusterRef("acme", namespace), Source("orgs/acme.yaml")
    org = Org("acme", cluster, {"models": models}, source)
    task = Task("acme", "fix", FULL_SPEC, Source("tasks/acme/fix.yaml", "b", "r"))
    wanted = agent_task(org, task, RunRef(2, "guildnet/acme/fix"))
    del wanted["metadata"]["finalizers"]  # so that the namespace can go
    written = await client.apply(wanted, field_manager=labels.RECONCILER)
    assert written["spec"] == wanted["spec"], "nothing defaulted, nothing pruned"
    again = await client.apply(wanted, field_manager=labels.RECONCILER)
    assert again["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]


async def test_a_task_with_every_field_is_accepted(client: KubeClient, namespace: str) -> None:
    spec = {**FULL_SPEC, "run": 1}
    await client.apply(an_agent_task(spec, namespace), field_manager="test", dry_run=True)


async def test_an_object_that_breaks_a_rule_is_rejected(client: KubeClient, namespace: str) -> None:
    """Fails if the CRD and the schema that it is generated from differ."""
    rules = schema.task_schema()["properties"]["spec"]
    accepted: list[str] = []
    gate = asyncio.Semaphore(16)

    async def attempt(broken: str, spec: Any) -> None:
        wanted = {**spec, "run": 1} if isinstance(spec, dict) else spec
        async with gate:
            try:
                await client.apply(
                    an_agent_task(wanted, namespace), field_manager="test", dry_run=True
                )
            except KubeInvalid:
                return
        accepted.append(broken)

    async with asyncio.TaskGroup() as group:
        for broken, spec in mutations(rules, FULL_SPEC):
            group.create_task(attempt(broken, spec))
    assert sorted(accepted) == []


@pytest.mark.parametrize(
    "change",
    [
        {"run": 0},
        {"pullRequest": {"context": "nowhere"}},
        {"pullRequest": {"context": "notes"}},
        {"continues": "x" * 256},
    ],
)
async def test_rules_of_loading_beyond_the_schema_are_enforced_too(
    client: KubeClient, namespace: str, change: dict[str, Any]
) -> None:
    spec = {**copy.deepcopy(FULL_SPEC), "run": 1, **change}
    with pytest.raises(KubeInvalid):
        await client.apply(an_agent_task(spec, namespace), field_manager="test", dry_run=True)


async def test_names_are_short_enough_for_their_children(
    client: KubeClient, namespace: str
) -> None:
    obj = an_agent_task({"prompt": "x", "run": 1}, namespace)
    obj["metadata"]["name"] = "a" * 51
    with pytest.raises(KubeInvalid):
        await client.apply(obj, field_manager="test", dry_run=True)


async def test_the_status_subresource_accepts_what_the_operator_reports(
    client: KubeClient, namespace: str
) -> None:
    spec = {"prompt": "x", "run": 1}
    await client.apply(an_agent_task(spec, namespace), field_manager="test")
    now = parse_time("2026-01-01T00:00:00Z")
    status = {
        "observedGeneration": 1,
        "phase": "Running",
        "run": 1,
        "attempt": 1,
        "start": 1,
        "startedAt": "2026-01-01T00:00:00Z",
        "artifacts": [{"name": "x.json", "bytes": 2, "sha256": "ab" * 32}],
        "lastRun": {"run": 1, "usage": {"tokens": 5}},
        "editor": {"service": "fix-12345", "port": 8443, "secret": "fix-12345"},
        "conditions": merged([], [Condition("Ready", "True", "Serving")], generation=1, now=now),
    }
    patched = await client.patch(
        AGENT_TASKS, "fix", {"status": status}, namespace, subresource="status"
    )
    assert patched["status"] == status
    assert patched["metadata"]["generation"] == 1
    with pytest.raises(KubeInvalid):
        await client.patch(
            AGENT_TASKS, "fix", {"status": {"run": "one"}}, namespace, subresource="status"
        )
