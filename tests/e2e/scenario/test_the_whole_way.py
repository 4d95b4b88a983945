"""From a commit to a pull request and back to a status commit, on real nodes and a real forge.

The tests run in the order of the steps. Each one checks the result of its step in the clusters, the
forge and the status branch, rather than in the output of the scenario.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

from guildnet import conditions, labels, record
from guildnet.kube.kinds import (
    AGENT_TASKS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    NETWORK_POLICIES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
)
from guildnet_demo import tasks
from guildnet_demo.scenario import Scenario
from guildnet_demo.sites import ACME, GLOBEX

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_commit_becomes_agent_tasks_in_each_orgs_cluster(scenario: Scenario) -> None:
    await scenario.commit_tasks()
    await scenario.see_agent_tasks()
    for run in scenario.runs.values():
        meta = run.last_object["metadata"]
        assert meta["labels"][labels.MANAGED_BY] == labels.RECONCILER
        assert meta["labels"][labels.ORG] == run.org
        assert meta["annotations"][labels.SOURCE_PATH] == f"tasks/{run.org}/{run.task}.yaml"
        assert meta["finalizers"] == [labels.RECORDED_FINALIZER]
    in_acme = await scenario.environment.client(ACME).list_all(AGENT_TASKS)
    assert [found["metadata"]["name"] for found in in_acme] == [tasks.REPAIR]


async def test_each_agent_task_gets_its_workloads_and_a_restricted_pod(scenario: Scenario) -> None:
    """I2: everything made for an AgentTask is owned by it, by UID."""
    await scenario.see_agents_ready()
    client = scenario.environment.client(ACME)
    uid = scenario.runs[tasks.REPAIR].last_object["metadata"]["uid"]
    name = labels.child_name(tasks.REPAIR, uid)
    for kind in (SECRETS, PERSISTENT_VOLUME_CLAIMS, NETWORK_POLICIES, DEPLOYMENTS, SERVICES):
        child = await client.get(kind, name)
        assert [o["uid"] for o in child["metadata"]["ownerReferences"]] == [uid], kind.kind
    (pod,) = await client.list_all(PODS, label_selector=f"{labels.TASK}={tasks.REPAIR}")
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    users = {
        c["name"]: c["securityContext"]["runAsUser"]
        for c in (*spec["initContainers"], *spec["containers"])
    }
    assert users == {"supervisor": labels.SUPERVISOR_UID, "work": labels.WORK_UID}
    work = spec["containers"][0]
    assert not any("git" in mount["mountPath"] for mount in work["volumeMounts"])


async def test_the_repair_is_a_pull_request_whose_tests_pass(
    scenario: Scenario, tmp_path: Path
) -> None:
    await scenario.see_pull_request()
    pull = scenario.pull_request
    assert pull["head"]["ref"] == labels.agent_branch(ACME, tasks.REPAIR, 1)
    assert pull["base"]["ref"] == "main"
    clone = tmp_path / "clone"
    url = scenario.repositories.urls.product_url
    _git("clone", "--quiet", "--branch", pull["head"]["ref"], url, str(clone))
    _run(sys.executable, "-m", "unittest", "-q", cwd=clone)
    trailers = _git(
        *("-C", str(clone), "log", "-1"), f"--format=%(trailers:key={labels.RUN_TRAILER},valueonly)"
    )
    assert trailers.strip() == labels.run_trailer(ACME, tasks.REPAIR, 1)


async def test_the_status_branch_says_what_the_forge_says(scenario: Scenario) -> None:
    await scenario.see_records()
    folder = record.task_folder(ACME, tasks.REPAIR)
    last_pr = await scenario.repositories.status_file(f"{folder}/artifacts/last_pr.json")
    pull = scenario.pull_request
    assert last_pr is not None
    assert last_pr["url"] == pull["html_url"]
    assert last_pr["number"] == pull["number"]
    assert last_pr["commit"] == pull["head"]["sha"]
    assert last_pr["provider"] == "gitea"
    last_run = await scenario.repositories.status_file(f"{folder}/artifacts/last_run.json")
    assert last_run is not None
    assert (last_run["run"], last_run["exitCode"]) == (1, 0)
    status = scenario.runs[tasks.REPAIR].record
    assert status["result"] == conditions.TASK_SUCCEEDED
    assert conditions.is_true(status["conditions"], conditions.FINISHED)


async def test_the_recorded_usage_is_what_the_model_served(scenario: Scenario) -> None:
    await scenario.see_usage()
    usage = scenario.legs[-1].detail
    assert usage.startswith("4 requests, 4600 tokens in")
    assert usage.endswith("0.0169 USD")


async def test_a_task_without_a_pull_request_leaves_its_artifact(scenario: Scenario) -> None:
    await scenario.see_artifact_only()
    path = record.artifact_path(GLOBEX, tasks.NOTES, "words.json")
    words = await scenario.repositories.status_file(path)
    readme = (scenario.repositories.product_folder / "README.md").read_text()
    assert words == {"words": len(tasks.NOTES_TEXT.split()) + len(readme.split())}
    assert "pullRequest" not in scenario.runs[tasks.NOTES].record


async def test_a_failed_command_is_recorded_with_its_cause(scenario: Scenario) -> None:
    """I10: what failed, and the end of its log."""
    await scenario.see_failure()
    status = scenario.runs[tasks.FAILING].record
    assert status["result"] in (conditions.TASK_FAILED, conditions.RETRIES_EXHAUSTED)
    client = scenario.environment.client(GLOBEX)
    found = await client.get(AGENT_TASKS, tasks.FAILING)
    succeeded = conditions.find(found["status"]["conditions"], conditions.SUCCEEDED)
    assert succeeded is not None
    assert succeeded["status"] == "False"
    assert tasks.FAILURE_MESSAGE in succeeded["message"]
    assert found["status"]["lastRun"]["exitCode"] == 3


async def test_a_bad_file_is_quarantined_and_nothing_else_waits_for_it(scenario: Scenario) -> None:
    """I1, I3: the record has the line; the org's other task runs meanwhile."""
    await scenario.see_quarantine()
    found = await scenario.environment.client(ACME).find(AGENT_TASKS, tasks.NOT_YAML)
    assert found is None


async def test_the_editor_opens_in_a_real_browser_behind_its_password(
    scenario: Scenario, browser: webdriver.Chrome
) -> None:
    await scenario.open_editor()
    async with scenario.environment.editor(ACME, tasks.REPAIR) as page:
        await asyncio.to_thread(_sign_in, browser, page.address, page.password)
        title = browser.title
    assert "workspace" in title.lower()


async def test_the_dashboard_shows_it_in_a_real_browser(
    scenario: Scenario, browser: webdriver.Chrome
) -> None:
    await scenario.look_at_dashboard()
    browser.get(f"{scenario.environment.dashboard_address}/tasks/{ACME}/{tasks.REPAIR}")
    links = {a.get_attribute("href") for a in browser.find_elements("css selector", "a")}
    assert scenario.pull_request["html_url"] in links


async def test_no_secret_leaves_its_place(scenario: Scenario) -> None:
    """I8: neither the status branch, nor objects but Secrets, nor our logs hold a credential."""
    values = scenario.environment.secret_values
    assert len(values) >= 3
    seen = [await scenario.repositories.status_branch_text()]
    seen += [log.read_text() for log in scenario.environment.service_logs]
    for org in (ACME, GLOBEX):
        client = scenario.environment.client(org)
        for kind in (AGENT_TASKS, PODS, CONFIG_MAPS):
            seen.append(str(await client.list_all(kind)))
    for text in seen:
        for value in values:
            assert value not in text
            assert base64.b64encode(value.encode()).decode() not in text


async def test_a_pass_over_the_same_state_writes_nothing(scenario: Scenario) -> None:
    """I4: asked to sync again, the reconciler moves no resource version and no branch."""
    before = await _everything(scenario)
    for org in (ACME, GLOBEX):
        scenario.environment.sync(org)
    assert await _everything(scenario) == before


async def test_an_edit_is_a_second_run_on_the_same_pull_request(scenario: Scenario) -> None:
    await scenario.edit_starts_second_run()
    status = await scenario.repositories.status_file(record.task_record_path(ACME, tasks.REPAIR))
    assert status is not None
    assert status["run"] == 2
    assert [entry["run"] for entry in status["history"]] == [1]


async def test_a_deleted_file_is_pruned_and_remembered(scenario: Scenario) -> None:
    await scenario.deletion_is_pruned()
    removed = await scenario.repositories.status_file(record.removed_path(GLOBEX, tasks.FAILING))
    assert removed is not None
    assert removed["run"] == 1
    path = record.task_record_path(GLOBEX, tasks.FAILING)
    assert await scenario.repositories.status_file(path) is None
    notes = await scenario.environment.client(GLOBEX).find(AGENT_TASKS, tasks.NOTES)
    assert notes is not None


def _sign_in(browser: webdriver.Chrome, address: str, password: str) -> None:
    browser.get(address)
    browser.find_element("css selector", "input[type=password]").send_keys("wrong")
    browser.find_element("css selector", "form").submit()
    assert not browser.find_elements("css selector", ".monaco-workbench")
    browser.get(address)
    browser.find_element("css selector", "input[type=password]").send_keys(password)
    browser.find_element("css selector", "form").submit()
    wait = WebDriverWait(browser, 60)
    wait.until(lambda found: found.find_elements("css selector", ".monaco-workbench"))
    wait.until(lambda found: "workspace" in found.title.lower())


async def _everything(scenario: Scenario) -> dict[str, str]:
    versions = {"status": await scenario.repositories.status_tip()}
    for org in (ACME, GLOBEX):
        for kind in (AGENT_TASKS, CONFIG_MAPS, SECRETS, DEPLOYMENTS):
            for found in await scenario.environment.client(org).list_all(kind):
                meta = found["metadata"]
                versions[f"{org}/{kind.plural}/{meta['name']}"] = meta["resourceVersion"]
    return versions


def _git(*arguments: str) -> str:
    return _run("git", *arguments)


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd)
    return done.stdout
