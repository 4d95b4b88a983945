"""Three real agents, each with its own protocol, repair the product on a node with enforced
NetworkPolicies: the pull request is real, and what the gateway counted is what was served."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from tests.e2e.agents.cases import CANCELLED, HAPPY, Case, each_agent
from tests.e2e.agents.site import ORG, Site, served

from guildnet import conditions, labels

if TYPE_CHECKING:
    from tests.e2e.agents.conftest import Runs

    from guildnet.kube import KubeClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

KNOCK = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 2).close()
        print("open")
    except OSError:
        print("closed")
"""


@each_agent(HAPPY)
async def test_an_agent_repairs_the_product_by_its_own_tools(
    site: Site, runs: Runs, case: Case
) -> None:
    status = await runs.end_of(case)
    succeeded = conditions.find(status["conditions"], conditions.SUCCEEDED)
    assert succeeded is not None
    assert succeeded["reason"] == conditions.TASK_SUCCEEDED, succeeded
    branch = labels.agent_branch(ORG, case.name, 1)
    pulls = await site.repositories.pull_requests()
    (pull,) = [pull for pull in pulls if pull["head"]["ref"] == branch]
    assert await site.repositories.pull_request_files(pull["number"]) == ["stats.py"]
    asked = site.asked_by(case.name)
    steps = [item.results for item in asked if item.served and item.results]
    assert steps == [1, 2, 3], "each step follows from the result of a tool"


@each_agent(HAPPY)
async def test_the_gateway_counts_what_the_endpoint_served(
    site: Site, runs: Runs, case: Case
) -> None:
    status = await runs.end_of(case)
    expected = served(site.asked_by(case.name))
    assert expected["requests"] >= 4
    assert {name: status["usage"][name] for name in expected} == expected


@each_agent(HAPPY)
async def test_the_log_has_a_line_for_each_message_and_tool_call(
    site: Site, runs: Runs, client: KubeClient, case: Case
) -> None:
    await runs.end_of(case)
    log = site.kubectl("logs", f"--selector={labels.TASK}={case.name}", "--container=work")
    lines = [line for line in log.splitlines() if "tool " in line]
    assert len(lines) >= 3, log
    assert '{"type"' not in log


@each_agent(HAPPY)
async def test_only_the_forge_and_the_model_are_reachable(
    site: Site, runs: Runs, client: KubeClient, case: Case
) -> None:
    """I2, I8: NetworkPolicy is enforced for the pod in which the agent worked."""
    await runs.end_of(case)
    host = site.cluster.host_address
    with socket.create_server((host, 0)) as other:
        closed = (f"{host}:{other.getsockname()[1]}", "10.96.0.1:443", "198.51.100.1:443")
        places = (site.repositories.host, f"{host}:{site.model.port}", *closed)
        answers = await site.python_in_work(client, case.name, KNOCK, *places)
    assert answers.split() == ["open", "open", *["closed"] * len(closed)]


@each_agent(CANCELLED)
async def test_the_providers_key_is_nowhere_in_the_work_container(runs: Runs, case: Case) -> None:
    """I8: looked for while the agent waits for its tool: environments, files, /proc."""
    await runs.end_of(case)
    found = runs.findings[case]
    assert "FOUND" not in found
    looked = json.loads(found)
    assert looked["processes"] >= 2, "the shim and the agent"
    assert looked["environments"] >= 4
    assert looked["gateway keys"] >= 1, "a key in an environment is found"
    assert looked["files"] > 10
