"""A command that tries every door of its pod, its node and its cluster finds them closed.

Runs after the whole way, on the same clusters. Places outside the openings are stand-ins in the
node's own network namespace or on this machine: no probe leaves them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from guildnet import conditions, labels, record
from guildnet.kube.kinds import PODS
from guildnet.resources import task_path
from guildnet_demo.scenario import Scenario
from guildnet_demo.sites import ACME, namespace_of
from guildnet_demo.steps import until
from guildnet_devcluster import cluster
from guildnet_devcluster.cluster import Cluster

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = "hostile"
METADATA = "169.254.169.254"
FORGED = "https://forge.example/not/mine/pulls/1"
SERVE = "import socket, sys, time; s = socket.create_server((sys.argv[1], 80)); time.sleep(3600)"
#: What the command runs, with the doors to knock at and the address to forge.
SCRIPT = Path(__file__).with_name("hostile_command.py").read_text()


@pytest.fixture
def acme() -> Cluster:
    """The devcluster that the scenario runs org acme on."""
    return cluster.get(f"t{os.getpid()}-{ACME}")


@contextmanager
def metadata_service(found: Cluster) -> Iterator[None]:
    """A stand-in for a cloud's, inside the node's network namespace."""
    subprocess.run(
        ["ip", "-n", found.netns.name, "address", "add", f"{METADATA}/32", "dev", "lo"], check=True
    )
    argv = ["nsenter", f"--net={found.netns}", sys.executable, "-c", SERVE, METADATA]
    with subprocess.Popen(argv) as standing_in:
        try:
            yield
        finally:
            standing_in.terminate()


def task(doors: dict[str, str]) -> str:
    script = textwrap.indent(SCRIPT, " " * 8)
    command = ["python3", "/workspace/script", json.dumps(doors), FORGED]
    return f"""\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {{name: {HOSTILE}}}
spec:
  prompt: Try every door.
  context:
    - name: script
      text: |
{script}
  agent:
    command: {json.dumps(command)}
  retries: 0
"""


async def agents_of_others(scenario: Scenario) -> dict[str, str]:
    """The doors of other tasks' agents that still stand, by what they are."""
    client = scenario.environment.client(ACME)
    pods = await client.list_all(PODS, namespace_of(ACME), label_selector=labels.TASK)
    return {
        f"{port} of {pod['metadata']['labels'][labels.TASK]}": f"{pod['status']['podIP']}:{port}"
        for pod in pods
        if pod["metadata"]["labels"][labels.TASK] != HOSTILE and pod["status"].get("podIP")
        for port in (labels.AGENT_PORT, labels.EDITOR_PORT)
    }


async def test_every_door_but_the_openings_is_closed(scenario: Scenario, acme: Cluster) -> None:
    """I2, I8, I9: no credential, no API, no other agent, no node, nothing outside the openings."""
    forge = scenario.repositories.host
    node = f"{acme.host_address.rsplit('.', 1)[0]}.2"
    others = await agents_of_others(scenario)
    assert others, "no other agent stands: its doors prove nothing"
    with (
        socket.create_server((acme.host_address, 0)) as machine,
        socket.create_server((acme.host_address, 53)),
        metadata_service(acme),
    ):
        closed = {
            "cluster's API": "10.96.0.1:443",
            "node's kubelet": f"{node}:10250",
            "cloud's metadata": f"{METADATA}:80",
            "server on the port of DNS": f"{acme.host_address}:53",
            "machine": f"{acme.host_address}:{machine.getsockname()[1]}",
            **others,
        }
        files = {task_path(ACME, HOSTILE): task({**closed, "forge": forge})}
        await scenario.repositories.commit(files, "Try every door")
        doors = await _artifact(scenario, "doors.json")
    assert doors.pop("forge") == "open", "nothing at all is reached: the rest proves nothing"
    assert doors.pop("agent API, unsigned") == "401"
    assert {name for name, state in doors.items() if state != "closed"} == set()
    assert set(closed) < set(doors)


async def test_forged_results_are_not_taken(scenario: Scenario) -> None:
    """I6, I7: the supervisor reports pull request and outcome, whatever the command writes."""

    async def recorded() -> dict[str, Any] | None:
        found = await scenario.repositories.status_file(record.task_record_path(ACME, HOSTILE))
        return found if found and found.get("result") else None

    status = await until("result of the hostile task", recorded, timedelta(minutes=2))
    assert status["result"] == conditions.TASK_SUCCEEDED
    assert "pullRequest" not in status
    last_run = await _artifact(scenario, "last_run.json")
    assert last_run["run"] == 1
    assert await scenario.repositories.status_file(_path("last_pr.json")) is None
    assert FORGED not in json.dumps(status["conditions"])


async def _artifact(scenario: Scenario, name: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        return await scenario.repositories.status_file(_path(name))

    return await until(f"{name} of the hostile task", look, timedelta(minutes=3))


def _path(name: str) -> str:
    return record.artifact_path(ACME, HOSTILE, name)
