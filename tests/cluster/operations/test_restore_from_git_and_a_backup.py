"""State directory, control plane and an org's cluster are lost; git and a backup restore them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from tests.cluster.operations.deployed import Deployed, deployment, new_namespace, start
from tests.cluster.operations.versions import THIS
from tests.cluster.reconciler.conftest import StateRepository, org_file, task_file

from guildnet import labels
from guildnet.kube import AGENT_TASKS, SECRETS
from guildnet_devcluster import cluster
from guildnet_devcluster.progress import progress_to

MINUTES = 5


@pytest.fixture(scope="module")
def rebuilt_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of an empty cluster in place of the one that is lost."""
    name = f"t-restore-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(tmp_path_factory.mktemp("rebuilt")))
        try:
            yield cluster.up(name, node=False, progress=progress_to()).kubeconfig
        finally:
            cluster.down(name)


async def backup(site: Deployed, *arguments: str, **environment: str) -> dict[str, str]:
    """The items that `guildnet backup` names, and the state of each."""
    environment["GUILDNET_STATE_DIR"] = str(site.state)
    call = ("backup", *arguments, "--repo", str(site.repo.work), "-o", "json")
    done = await asyncio.to_thread(THIS.call, *call, **environment)
    found = {each["item"]: each["state"] for each in json.loads(done.stdout)}
    assert done.returncode == int(not set(found.values()) <= {"kept", "by hand"}), done.stderr
    return found


async def test_everything_is_back_and_no_finished_run_runs_again(
    control_plane: Path, rebuilt_cluster: Path, repo: StateRepository, tmp_path: Path
) -> None:
    """I6, I7"""
    namespace = new_namespace()
    repo.commit(
        {
            "orgs/acme.yaml": org_file(namespace=namespace),
            # Its kubeconfig is in a Secret alone, so the reconciler here does not work on it.
            "orgs/globex.yaml": org_file("globex", namespace=namespace),
            "tasks/acme/over.yaml": task_file("over"),
            "tasks/acme/busy.yaml": task_file("busy"),
        }
    )
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n")
    (tmp_path / "hook").write_text("the webhook's secret\n")
    kept, secret = tmp_path / "backup", f"secrets/acme/{namespace}/forge-token.json"

    async with deployment(control_plane, repo, tmp_path / "before", namespace) as site:
        await start(site, THIS)
        await _set_secret(site)
        await site.node.run_to_success("over")
        over = await site.recorded("over", "TaskSucceeded")
        await site.node.run_pod("busy")
        await site.recorded("busy", "AgentServing")
        plane = await _control_plane(site)
        missing = await backup(site, "--check", "--file", str(tmp_path / "hook"))
        assert {missing[name] for name in ("state/kube/acme.config", secret)} == {"not kept"}
        to = ("--recipient", str(identity.to_public()), "--file", str(tmp_path / "hook"))
        made = await backup(site, str(kept), *to, *plane)
        assert set(made) == {
            *("state/kube/acme.config", "state/reconciler-token", "age identity"),
            *(secret, f"files{tmp_path / 'hook'}"),
            *(
                f"secrets/control-plane/{namespace}-plane/{name}.json"
                for name in ("state-git", "globex")
            ),
            # The org of the kubeconfig that is in a Secret alone.
            f"secrets/globex/{namespace}/forge-token.json",
        }
        assert await backup(site, str(kept), "--check", *plane) == made
        expected = await site.org.admin.get(SECRETS, "forge-token")
    shutil.rmtree(tmp_path / "before")
    (tmp_path / "hook").unlink()

    began = time.monotonic()
    opened = tmp_path / "opened"
    key = {"GUILDNET_AGE_IDENTITY": str(tmp_path / "identity")}
    arguments = ("backup", str(kept), "--open", str(opened))
    done = await asyncio.to_thread(THIS.call, *arguments, **key)
    assert done.returncode == 0, done.stderr
    assert (opened / f"files{tmp_path / 'hook'}").read_text() == "the webhook's secret\n"
    shutil.copytree(opened / "state", tmp_path / "after" / "state")
    async with deployment(rebuilt_cluster, repo, tmp_path / "after", namespace) as site:
        await site.install(THIS)
        await site.org.admin.apply(
            json.loads((opened / secret).read_text()), field_manager="kubectl"
        )
        await start(site, THIS)
        await site.node.run_to_success("busy")
        busy = await site.recorded("busy", "TaskSucceeded")
        took = time.monotonic() - began
        print(f"restored in {took:.0f} s")
        assert took < MINUTES * 60

        assert busy["run"] == 1
        assert site.record("over")["result"] == over["result"]
        assert site.record("over")["run"] == over["run"] == 1
        assert site.starts("over") == []
        assert await site.pods("over") == []
        found = await site.org.admin.get(SECRETS, "forge-token")
        assert found["data"] == expected["data"]
        tasks = await site.org.admin.list_all(AGENT_TASKS)
        assert {task["spec"]["run"] for task in tasks} == {1}
        # The kubeconfig is the rebuilt cluster's, which the backup does not have yet.
        after = await backup(site, str(kept), "--check")
        assert after["state/kube/acme.config"] == "changed"
        assert after[secret] == "kept"


async def _control_plane(site: Deployed) -> tuple[str, ...]:
    """The options for a control plane with an org's kubeconfig, another Secret and one of Helm."""
    namespace = f"{site.org.namespace}-plane"
    await site.org.admin.ensure_namespace(namespace, {})
    for name, kind in (("state-git", "Opaque"), ("release", "helm.sh/release.v1")):
        metadata = {"name": name, "namespace": namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind}
        await site.org.admin.create({**secret, "data": {"token": "dG9rZW4="}})
    owned: dict[str, Any] = {
        "name": "globex",
        "namespace": namespace,
        "labels": {labels.USE: labels.USE_KUBECONFIG},
    }
    kubeconfig = base64.b64encode(site.org.kubeconfig.read_bytes()).decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": owned}
    await site.org.admin.create({**secret, "data": {"kubeconfig": kubeconfig}})
    options = ("--control-plane", str(site.org.kubeconfig))
    return *options, "--control-plane-namespace", namespace


async def _set_secret(site: Deployed) -> None:
    own = ("--kubeconfig", str(site.org.kubeconfig), "--namespace", site.org.namespace)
    what = ("secret", "set", "acme", "forge-token", "--use", "git", "--host", "git.example")
    done = await asyncio.to_thread(THIS.call, *what, *own, text="s3cret-t0ken\n")
    assert done.returncode == 0, done.stderr
