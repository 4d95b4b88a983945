"""The operator on a real API server, with its own rights only."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import httpx
import pytest
from yarl import URL

from guildnet import labels
from guildnet.kube import (
    AGENT_TASKS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
)
from guildnet_operator.install import RULES

CHILDREN = (SECRETS, PERSISTENT_VOLUME_CLAIMS, NETWORK_POLICIES, DEPLOYMENTS, SERVICES)


async def test_from_agent_task_to_result(org: Any, node: Any) -> None:
    """I6: artifact and pull request are in status before the result. I2: all objects are owned."""
    made = await org.add("fix-login")
    name = labels.child_name("fix-login", made["metadata"]["uid"])
    node.bodies["report.json"] = b'{"ok": true}'
    async with org.operated():
        pod = await node.run_to_success("fix-login")
        status = await org.status("fix-login")
        for kind in CHILDREN:
            child = await org.admin.get(kind, name, org.namespace)
            owner = child["metadata"]["ownerReferences"][0]
            assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True)
    starts = [body for _, path, body in node.requests if path == "/start"]
    assert [(s["run"], s["attempt"], s["start"]) for s in starts] == [(1, 1, 1)]
    assert starts[0]["spec"]["prompt"] == "fix it"
    assert status["pullRequest"]["url"] == "https://git.example/1"
    assert status["lastRun"]["exitCode"] == 0
    assert (status["pod"], status["node"]) == (pod, "fake-node")
    kept = await org.admin.get(CONFIG_MAPS, status["artifactsConfigMap"], org.namespace)
    assert set(kept["binaryData"]) == {"report.json"}
    events = {e["reason"] for e in await org.admin.list_all(EVENTS, org.namespace)}
    assert {"Starting", "AgentServing", "PullRequestOpened", "TaskSucceeded"} <= events
    assert status["phase"] == "Succeeded"


async def test_no_trace_of_the_framework_is_left(org: Any, node: Any) -> None:
    await org.add("quiet")
    async with org.operated():
        await node.run_to_success("quiet")
    meta = (await org.admin.get(AGENT_TASKS, "quiet", org.namespace))["metadata"]
    assert "finalizers" not in meta
    assert "annotations" not in meta


async def test_a_restarted_operator_continues_and_starts_nothing_twice(org: Any, node: Any) -> None:
    """I7"""
    await org.add("long")
    async with org.operated():
        pod = await node.run_pod("long")
        await org.reaches("long", "Ready", "True", "AgentServing")
    node.show(pod, step="Finished", outcome="Succeeded", finishedAt="2026-11-22T12:01:00Z")
    async with org.operated():
        await org.reaches("long", "Finished", "True", "TaskSucceeded")
    assert [path for _, path, _ in node.requests] == ["/start"]


async def test_a_lost_pod_costs_one_start(org: Any, node: Any) -> None:
    await org.add("unlucky")
    async with org.operated():
        pod = await node.run_pod("unlucky")
        await org.reaches("unlucky", "Ready", "True", "AgentServing")
        await node.gone(pod)
        await org.reaches("unlucky", "Ready", "False", "Provisioning")
        await node.run_pod("unlucky")
        await org.reaches("unlucky", "Ready", "True", "AgentServing")
        status = await org.status("unlucky")
    assert [status[k] for k in ("run", "attempt", "start")] == [1, 1, 2]
    assert len([path for _, path, _ in node.requests if path == "/start"]) == 2


async def test_max_active_bounds_the_running_agents(org: Any, node: Any) -> None:
    await org.configure(limits={"maxActive": 1})
    await org.add("usual")
    await org.add("urgent", priority=10)
    async with org.operated():
        await org.reaches("usual", "Scheduled", "False", "Queued")
        assert (await org.status("usual"))["attempt"] == 0
        pods = await org.admin.list_all(PODS, org.namespace)
        assert {p["metadata"]["labels"][labels.TASK] for p in pods} <= {"urgent"}
        await node.run_to_success("urgent")
        await node.run_to_success("usual")


async def test_the_slot_of_an_agent_never_ready_goes_to_a_waiting_task(org: Any, node: Any) -> None:
    """I10: the queue moves on, and the cause stays in the status."""
    org.settings = replace(org.settings, provision_timeout=timedelta(seconds=1))
    await org.configure(limits={"maxActive": 1})
    await org.add("stuck", priority=10)
    async with org.operated():
        # Its pod waits for a volume that nothing here provides.
        await node.pod_of("stuck")
        await org.add("next")
        await node.run_to_success("next")
        status = await org.status("stuck")
        assert await org.condition("stuck", "Scheduled") == ("False", "Queued")
        found = await org.admin.list_all(
            DEPLOYMENTS, org.namespace, label_selector=f"{labels.TASK}=stuck"
        )
        assert [deployment["spec"]["replicas"] for deployment in found] == [0]
        message = next(c["message"] for c in status["conditions"] if c["type"] == "Scheduled")
        assert "its slot went to another task" in message
        assert (status["attempt"], status["start"]) == (1, 0)


async def test_cancel_publishes_the_work_and_leaves_no_pod(org: Any, node: Any) -> None:
    await org.add("enough")
    async with org.operated():
        await node.run_pod("enough")
        await org.reaches("enough", "Ready", "True", "AgentServing")
        await org.edit("enough", cancel=True)
        await org.reaches("enough", "Finished", "True", "Cancelled")
        assert ("/stop", {"reason": "Cancelled"}) in [(p, b) for _, p, b in node.requests]

        async def parked() -> bool:
            found = await org.admin.list_all(DEPLOYMENTS, org.namespace)
            return bool(found[0]["spec"]["replicas"] == 0)

        await org.comes_to(parked, "no replica")


async def test_a_missing_secret_is_named_and_its_creation_is_noticed(org: Any, node: Any) -> None:
    """I10"""
    git = {"url": "https://git.example/web.git", "secret": "forge"}
    await org.add("needy", context=[{"name": "web", "git": git}])
    async with org.operated():
        await org.reaches("needy", "Accepted", "False", "SecretNotFound")
        assert not await org.admin.list_all(DEPLOYMENTS, org.namespace)
        await org.admin.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": "forge",
                    "namespace": org.namespace,
                    "labels": {labels.USE: "git"},
                    "annotations": {labels.HOSTS: "git.example"},
                },
                "stringData": {"token": "t"},
            }
        )
        await org.reaches("needy", "Accepted", "True", "Valid")
        await node.pod_of("needy")


async def test_an_exceeded_quota_is_named(org: Any) -> None:
    """I10"""
    path = f"/api/v1/namespaces/{org.namespace}/resourcequotas"
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": org.namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    await org.admin._write("create", "POST", path, "quota", body=quota)
    await org.add("squeezed")
    async with org.operated():
        status = await org.reaches("squeezed", "Scheduled", "False", "QuotaExceeded")
    message = next(c["message"] for c in status["conditions"] if c["type"] == "Scheduled")
    assert "exceeded quota" in message


async def test_a_name_conflict_is_reported_and_the_other_object_left_alone(org: Any) -> None:
    """I2, I10"""
    made = await org.add("elbowed")
    name = labels.child_name("elbowed", made["metadata"]["uid"])
    foreign = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": org.namespace},
        "stringData": {"theirs": "x"},
    }
    before = await org.admin.create(foreign)
    async with org.operated():
        status = await org.reaches("elbowed", "Scheduled", "False", "Unschedulable")
        message = next(c["message"] for c in status["conditions"] if c["type"] == "Scheduled")
        assert name in message
        assert "the operator did not create it: delete it" in message
        assert await org.admin.get(SECRETS, name, org.namespace) == before
        await org.admin.delete(SECRETS, name, org.namespace)
        await org.comes_to(lambda: _has_deployment(org), "its objects are made once it is gone")


async def test_the_role_grants_only_what_is_used(
    org: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unused rights only serve an attacker; kopf's requests count as well."""
    used: set[tuple[str, str, str]] = set()
    send = aiohttp.ClientSession._request

    async def recorded(self: Any, method: str, url: Any, **given: Any) -> Any:
        if self is not org.admin._transport._link._session:
            used.update(_rights(method, URL(url), str((given.get("headers") or {}).values())))
        return await send(self, method, url, **given)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", recorded)
    async with org.operated():
        await org.add("all")
        await node.bind("all")
        # What a node says of a pod is asked for only when the pod is long in coming.
        await org.comes_to(lambda: _has(used, ("list", "", "events")), "events are asked for")
        node.bodies["report.json"] = b"1"
        pod = await node.run_to_success("all")
        node.bodies["report.json"] = b"22"
        await org.edit("all", run=2, prompt="more")
        await org.comes_to(lambda: _run_of(org, "all", 2), "the second run")
        await node.gone(pod)
        await node.run_to_success("all")
    held = {
        (verb, group, plural)
        for rule in RULES
        for group in rule["apiGroups"]
        for plural in rule["resources"]
        for verb in rule["verbs"]
    }
    assert held - used == set(), "held and not used"
    assert used - held == set(), "tried and not held"


async def test_it_is_ready_once_it_would_reconcile_a_task(org: Any, node: Any) -> None:
    """The Lease is held and the watches work, even in a namespace without AgentTasks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    org.settings = replace(org.settings, probes=address)

    async def is_ready() -> bool:
        with suppress(httpx.TransportError):
            return (await client.get(f"http://{address}/readyz")).status_code == 200
        return False

    async with httpx.AsyncClient(trust_env=False) as client, org.operated():
        await org.comes_to(is_ready, "the operator is ready")
        await org.add("taken-up")
        await node.pod_of("taken-up")
        scraped = (await client.get(f"http://{address}/metrics")).text
    assert "guildnet_operator_active 1.0" in scraped
    assert "guildnet_operator_queued 0.0" in scraped
    assert 'guildnet_operator_api_requests_total{code="201",verb="apply"} 3.0' in scraped


def _rights(method: str, url: URL, headers: str) -> set[tuple[str, str, str]]:
    """(verb, group, resource) as RBAC sees the request."""
    parts = url.path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else ("".join(parts[1:2]), parts[3:])
    if rest[:1] != ["namespaces"] or len(rest) < 3:
        return set()  # API discovery, which every account may use
    if rest[1] == "kube-system":
        return set()  # DNS servers: the other Role
    plural, below = rest[2], rest[4:5]
    resource = "/".join([plural, *below])
    if below == ["proxy"]:
        return {("create" if method == "POST" else "get", group, resource)}
    several = "watch" if url.query.get("watch") == "true" else "list"
    verbs = {
        "GET": ["get"] if len(rest) > 3 else [several],
        "POST": ["create"],
        "PUT": ["update"],
        "PATCH": ["patch", "create"] if "apply-patch" in headers else ["patch"],
    }
    return {(verb, group, resource) for verb in verbs.get(method.upper(), [method])}


async def _has_deployment(org: Any) -> bool:
    return bool(await org.admin.list_all(DEPLOYMENTS, org.namespace))


async def _has(used: set[tuple[str, str, str]], right: tuple[str, str, str]) -> bool:
    return right in used


async def _run_of(org: Any, task: str, run: int) -> bool:
    return bool((await org.status(task)).get("run") == run)
