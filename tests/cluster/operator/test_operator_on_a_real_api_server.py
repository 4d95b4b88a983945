"""An AgentTask's way on a real API server, by the operator with its own rights and no more."""

from __future__ import annotations

from collections import Counter
from typing import Any

from guildnet import labels
from guildnet.digest import sha256_hex
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

CHILDREN = (SECRETS, PERSISTENT_VOLUME_CLAIMS, NETWORK_POLICIES, DEPLOYMENTS, SERVICES)


async def run_to_success(org: Any, node: Any, task: str) -> str:
    pod: str = await node.run_pod(task)
    await org.reaches(task, "Ready", "True", "AgentServing")
    node.show(
        pod,
        step="Finished",
        outcome="Succeeded",
        exitCode=0,
        startedAt="2026-11-22T12:00:00Z",
        finishedAt="2026-11-22T12:01:00Z",
        branch=f"guildnet/acme/{task}",
        published={"reason": "PullRequestOpened", "message": "https://git.example/1"},
        pullRequest={"url": "https://git.example/1", "number": 1, "state": "open"},
        lastRun={"run": 1, "attempt": 1, "exitCode": 0},
        logTail="done",
        artifacts=[
            {"name": name, "bytes": len(body), "sha256": sha256_hex(body)}
            for name, body in node.bodies.items()
        ],
    )
    await org.reaches(task, "Finished", "True", "TaskSucceeded")
    return pod


async def test_from_agent_task_to_result(org: Any, node: Any) -> None:
    """I6: artifact and pull request are in the status before the end is; I2: all is owned."""
    made = await org.add("fix-login")
    name = labels.child_name("fix-login", made["metadata"]["uid"])
    node.bodies["report.json"] = b'{"ok": true}'
    async with org.operated():
        pod = await run_to_success(org, node, "fix-login")
        status = await org.status("fix-login")
        for kind in CHILDREN:
            child = await org.admin.get(kind, name, org.namespace)
            owner = child["metadata"]["ownerReferences"][0]
            assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True)
    starts = [body for _, path, body in node.told if path == "/start"]
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
        await run_to_success(org, node, "quiet")
    meta = (await org.admin.get(AGENT_TASKS, "quiet", org.namespace))["metadata"]
    assert "finalizers" not in meta
    assert "annotations" not in meta


async def test_a_restart_over_unchanged_objects_writes_nothing(org: Any, node: Any) -> None:
    """I4: a finished one, a working one, and one that waits for a node."""
    for task in ("done", "busy", "waiting"):
        await org.add(task)
    async with org.operated():
        await run_to_success(org, node, "done")
        await node.run_pod("busy")
        await org.reaches("busy", "Ready", "True", "AgentServing")
        await org.reaches("waiting", "Scheduled", "False", "Unschedulable")
    before = await _versions(org)
    org.requests.clear()
    async with org.operated():
        # A change that comes now proves that all the rest was looked at before.
        await org.add("newcomer")
        await node.run_pod("newcomer")
        await org.reaches("newcomer", "Ready", "True", "AgentServing")
        requests = Counter(org.requests)
    after = await _versions(org)
    assert {name: after[name] for name in before} == before
    # The newcomer's own: five objects and its status; nothing else was tried either.
    assert requests["apply"] + requests["delete"] == 3


async def _versions(org: Any) -> dict[tuple[str, str], tuple[str, int]]:
    """What a write of ours would change: of Deployments the spec, others write their status."""
    return {
        (kind.kind, o["metadata"]["name"]): (
            "" if kind is DEPLOYMENTS else o["metadata"]["resourceVersion"],
            o["metadata"].get("generation", 0),
        )
        for kind in (AGENT_TASKS, CONFIG_MAPS, SECRETS, NETWORK_POLICIES, DEPLOYMENTS, SERVICES)
        for o in await org.admin.list_all(kind, org.namespace)
    }


async def test_a_restarted_operator_goes_on_and_starts_nothing_twice(org: Any, node: Any) -> None:
    """I7"""
    await org.add("long")
    async with org.operated():
        pod = await node.run_pod("long")
        await org.reaches("long", "Ready", "True", "AgentServing")
    node.show(pod, step="Finished", outcome="Succeeded", finishedAt="2026-11-22T12:01:00Z")
    async with org.operated():
        await org.reaches("long", "Finished", "True", "TaskSucceeded")
    assert [path for _, path, _ in node.told] == ["/start"]


async def test_a_lost_pod_is_one_more_start(org: Any, node: Any) -> None:
    await org.add("unlucky")
    async with org.operated():
        pod = await node.run_pod("unlucky")
        await org.reaches("unlucky", "Ready", "True", "AgentServing")
        del node.states[pod]
        await node.gone(pod)
        await org.reaches("unlucky", "Ready", "False", "Provisioning")
        await node.run_pod("unlucky")
        await org.reaches("unlucky", "Ready", "True", "AgentServing")
        status = await org.status("unlucky")
    assert [status[k] for k in ("run", "attempt", "start")] == [1, 1, 2]
    assert len([path for _, path, _ in node.told if path == "/start"]) == 2


async def test_only_as_many_as_allowed_work_at_once(org: Any, node: Any) -> None:
    settings = '{"limits": {"maxActive": 1}, "mesh": {}, "egress": [], "suspend": false}'
    await org.admin.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": labels.ORG_CONFIG_MAP, "namespace": org.namespace},
            "data": {"org": "acme", "settings": settings},
        }
    )
    await org.add("usual")
    await org.add("urgent", priority=10)
    async with org.operated():
        await org.reaches("usual", "Scheduled", "False", "Queued")
        assert (await org.status("usual"))["attempt"] == 0
        pods = await org.admin.list_all(PODS, org.namespace)
        assert {p["metadata"]["labels"][labels.TASK] for p in pods} <= {"urgent"}
        await run_to_success(org, node, "urgent")
        await run_to_success(org, node, "usual")


async def test_cancel_has_the_work_handed_over_and_leaves_no_pod(org: Any, node: Any) -> None:
    await org.add("enough")
    async with org.operated():
        await node.run_pod("enough")
        await org.reaches("enough", "Ready", "True", "AgentServing")
        await org.edit("enough", cancel=True)
        await org.reaches("enough", "Finished", "True", "Cancelled")
        assert ("/stop", {"reason": "Cancelled"}) in [(p, b) for _, p, b in node.told]

        async def parked() -> bool:
            found = await org.admin.list_all(DEPLOYMENTS, org.namespace)
            return bool(found[0]["spec"]["replicas"] == 0)

        await org.comes_to(parked, "no replica")


async def test_a_secret_that_is_missing_is_named_and_its_coming_noticed(
    org: Any, node: Any
) -> None:
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


async def test_a_quota_is_named(org: Any) -> None:
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
