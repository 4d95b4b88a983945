"""org install, secret set, doctor, logs, editor and release against a real API server."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from guildnet import kube, labels, schema

Run = Callable[..., "Ran"]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Org:
    """An org whose cluster is the control plane, in a namespace for the test."""

    name: str
    namespace: str
    client: kube.KubeClient
    root: Path

    async def guildnet(self, *arguments: str, text: str = "") -> Ran:
        def run() -> Ran:
            done = subprocess.run(
                [sys.executable, "-m", "guildnet_cli.main", *arguments],
                cwd=self.root,
                input=text,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            assert "Traceback" not in done.stderr, done.stderr
            return Ran(done.returncode, done.stdout, done.stderr)

        return await asyncio.to_thread(run)


@pytest.fixture
async def org(control_plane: Path, tmp_path: Path) -> AsyncIterator[Org]:
    namespace = f"t-{uuid4().hex[:10]}"
    async with kube.KubeClient.from_kubeconfig(control_plane, namespace=namespace) as client:
        made = Org("acme", namespace, client, tmp_path)
        added = await made.guildnet(
            *("org", "add", "acme", "--kubeconfig", str(control_plane)),
            *("--namespace", namespace),
        )
        assert added.code == 0, added
        yield made
        if await client.find(kube.NAMESPACES, namespace) is not None:
            await client.delete(kube.NAMESPACES, namespace)


async def installed(org: Org) -> None:
    """Install everything except a running operator: without a node no pod runs."""
    await org.client.ensure_namespace(org.namespace, {})
    await org.client.apply(schema.crd(), field_manager="guildnet-cli")
    async with asyncio.timeout(60):
        while True:
            name = schema.crd()["metadata"]["name"]
            found = await org.client.get(kube.CUSTOM_RESOURCE_DEFINITIONS, name)
            conditions = found.get("status", {}).get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                return
            await asyncio.sleep(0.1)


def an_agent_task(namespace: str, finalizers: list[str]) -> dict[str, object]:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND_AGENT_TASK,
        "metadata": {"name": "fix", "namespace": namespace, "finalizers": finalizers},
        "spec": {"prompt": "x", "run": 1},
    }


async def test_a_dry_run_prints_everything_and_changes_nothing(org: Org) -> None:
    answer = await org.guildnet("org", "install", "acme", "--dry-run", "--image", "op:1")
    assert answer.code == 0, answer
    objects = list(yaml.safe_load_all(answer.out))
    kinds = [o["kind"] for o in objects]
    assert kinds.index("Namespace") < kinds.index("CustomResourceDefinition")
    assert kinds[-1] == "Deployment"
    assert "op:1" in answer.out
    assert await org.client.find(kube.NAMESPACES, org.namespace) is None


async def test_install_applies_everything_and_reports_what_does_not_start(org: Org) -> None:
    """I10: without a node nothing starts; the error has cause, place and what to do."""
    answer = await org.guildnet("org", "install", "acme", "--timeout", "3")
    assert answer.code == 1
    assert "applied CustomResourceDefinition agenttasks.guildnet.io" in answer.err
    assert "not ready in time" in answer.err
    assert f"Deployment guildnet-system/guildnet-operator-{org.namespace}" in answer.err
    assert "what to do:" in answer.err
    assert await org.client.find(kube.NAMESPACES, org.namespace) is not None
    assert await org.client.list_all(kube.AGENT_TASKS, org.namespace) == []
    again = await org.guildnet("org", "install", "acme", "--timeout", "3")
    assert "applied CustomResourceDefinition" in again.err


async def test_a_secret_is_labelled_and_keeps_its_other_keys(org: Org) -> None:
    """I8: the value is read from standard input and never printed."""
    await installed(org)
    base = ("secret", "set", "acme", "forge-token", "--use", "git")
    first = await org.guildnet(*base, "--host", "git.example:3000", text="sesame\n")
    second = await org.guildnet(*base, "--key", "username", text="bot")
    assert (first.code, second.code) == (0, 0), (first, second)
    assert "sesame" not in first.out + first.err
    found = await org.client.get(kube.SECRETS, "forge-token", org.namespace)
    assert found["metadata"]["labels"][labels.USE] == "git"
    assert found["metadata"]["annotations"][labels.HOSTS] == "git.example:3000"
    assert {k: base64.b64decode(v) for k, v in found["data"].items()} == {
        "token": b"sesame",
        "username": b"bot",
    }


async def test_a_secret_of_another_owner_is_not_changed(org: Org) -> None:
    """I2."""
    await installed(org)
    theirs = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "theirs", "namespace": org.namespace},
        "data": {"token": base64.b64encode(b"x").decode()},
    }
    before = await org.client.create(theirs)
    answer = await org.guildnet(
        *("secret", "set", "acme", "theirs", "--use", "git", "--host", "h"), text="y"
    )
    assert answer.code == 1
    assert "the Secret exists and has no label guildnet.io/use" in answer.err
    assert await org.client.get(kube.SECRETS, "theirs", org.namespace) == before


@pytest.mark.parametrize(
    ("arguments", "text", "code", "message"),
    [
        (["--use", "git"], "x", 1, "needs at least one host"),
        (["--use", "mesh"], "x", 1, "needs at least one host"),
        (["--use", "agent-env", "--host", "h"], "x", 2, "--host requires --use git"),
        (["--use", "agent-env"], "", 2, "standard input is empty"),
        (["--use", "agent-env"], "x" * 70_000, 2, "larger than 65,536 bytes"),
    ],
)
async def test_an_invalid_secret_is_not_written(
    org: Org, arguments: list[str], text: str, code: int, message: str
) -> None:
    await installed(org)
    answer = await org.guildnet("secret", "set", "acme", "s", *arguments, text=text)
    assert (answer.code, message in answer.err) == (code, True), answer
    assert await org.client.find(kube.SECRETS, "s", org.namespace) is None


async def test_doctor_says_how_to_fix_each_fault(org: Org) -> None:
    """I10."""
    await installed(org)
    answer = await org.guildnet("doctor", "acme", "-o", "json")
    assert answer.code == 1, answer
    found = {f["check"]: f for f in json.loads(answer.out)["acme"]}
    for check in ("reach", "credential", "definition", "namespace", "permission"):
        assert found[check]["good"], found[check]
    assert not found["operator"]["good"]
    assert found["operator"]["cure"] == "Run `guildnet org install acme`."
    assert "enforces nothing, not restricted" in found["pod security"]["message"]
    assert "kubectl label --overwrite namespace" in found["pod security"]["cure"]
    assert not found["operator alive"]["good"]
    assert "kubectl -n guildnet-system logs" in found["operator alive"]["cure"]
    assert await org.client.list_all(kube.AGENT_TASKS, org.namespace) == []


async def test_doctor_says_whether_a_reconciler_works_on_the_org(org: Org) -> None:
    """None is no fault before the first one is started; one that has stopped is."""
    await installed(org)

    async def found() -> dict[str, object]:
        answer = await org.guildnet("doctor", "acme", "-o", "json")
        (result,) = (r for r in json.loads(answer.out)["acme"] if r["check"] == "reconciler alive")
        return dict(result)

    result = await found()
    assert (result["good"], "none works on this org" in str(result["message"])) == (True, True)
    spec = {"holderIdentity": "pod-1/acme", "renewTime": "2026-01-01T00:00:00.000000Z"}
    meta = {"name": labels.RECONCILER, "namespace": org.namespace}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
    await org.client.create({**lease, "spec": spec})
    result = await found()
    assert not result["good"]
    assert "by pod-1/acme" in str(result["message"])
    assert "the reconciler has stopped" in str(result["message"])


async def test_doctor_reports_an_unreachable_cluster(org: Org) -> None:
    stored = Path(str(org.root)) / "dead.yaml"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {"token": "sesame"}}],
    }
    stored.write_text(yaml.safe_dump(config))
    answer = await org.guildnet("doctor", "acme", "--kubeconfig", str(stored), "-o", "json")
    assert answer.code == 1
    (result,) = json.loads(answer.out)["acme"]
    assert (result["check"], result["good"]) == ("reach", False)
    assert "guildnet org add acme --kubeconfig" in result["cure"]
    assert "sesame" not in answer.out + answer.err


async def test_release_removes_the_finalizer_of_a_deleted_task_only(org: Org) -> None:
    """I6: a task that nobody deletes keeps its finalizer."""
    await installed(org)
    both = [labels.RECORDED_FINALIZER, "example.com/other"]
    await org.client.apply(an_agent_task(org.namespace, both), field_manager="test")
    answer = await org.guildnet("task", "release", "acme/fix")
    assert "is not being deleted; nothing changed" in answer.err
    await org.client.delete(kube.AGENT_TASKS, "fix", org.namespace)
    answer = await org.guildnet("task", "release", "acme/fix")
    assert "finalizer removed" in answer.err, answer
    left = await org.client.get(kube.AGENT_TASKS, "fix", org.namespace)
    assert left["metadata"]["finalizers"] == ["example.com/other"]
    patch = {"metadata": {"finalizers": None}}
    await org.client.patch(kube.AGENT_TASKS, "fix", patch, org.namespace)
    assert "AgentTask not found" in (await org.guildnet("task", "release", "acme/fix")).err


async def test_an_editor_that_is_not_ready_is_an_error_with_the_reason(org: Org) -> None:
    """I10."""
    await installed(org)
    await org.client.apply(an_agent_task(org.namespace, []), field_manager="test")
    answer = await org.guildnet("editor", "acme/fix")
    assert answer.code == 1
    assert "acme/fix: the editor is not ready: not started yet" in answer.err
    answer = await org.guildnet("editor", "acme/none")
    assert "the cluster has no such AgentTask" in answer.err
