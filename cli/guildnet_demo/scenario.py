"""The demo's scenario. Each step waits for an expected event and records how long it took.

The end-to-end tests run the same steps and assert on the result of each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from guildnet import conditions, labels, record
from guildnet.kube.kinds import AGENT_TASKS, PODS
from guildnet.resources import task_path
from guildnet_demo import model_endpoint, tasks
from guildnet_demo.environment import DemoEnvironment
from guildnet_demo.mesh_steps import MeshSteps
from guildnet_demo.report import Leg
from guildnet_demo.sites import ACME, GLOBEX
from guildnet_demo.steps import (
    DemoFailed,
    Look,
    Step,
    all_of,
    explain_agent_task,
    explain_org,
    until,
)

T = TypeVar("T")

_QUICK = timedelta(seconds=60)
_A_RUN = timedelta(minutes=5)


@dataclass
class TaskRun:
    """When each event of a run was first observed, in monotonic seconds."""

    org: str
    task: str
    number: int
    committed: float
    agent_task: float | None = None
    pod_ready: float | None = None
    published: float | None = None
    finished: float | None = None
    recorded: float | None = None
    last_object: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)


class Scenario:
    """The steps, run in `environment`; each appends to `legs`."""

    def __init__(self, environment: DemoEnvironment) -> None:
        self.environment = environment
        self.repositories = environment.repositories
        self.legs: list[Leg] = []
        self.runs: dict[str, TaskRun] = {}
        self.pull_request: dict[str, Any] = {}

    @property
    def steps(self) -> list[Step]:
        """In the order they must run."""
        created, ready, recorded = ("AgentTasks",), ("agents ready",), ("results recorded",)
        return [
            Step("tasks committed", self.commit_tasks),
            Step("AgentTasks", self.see_agent_tasks, ("tasks committed",)),
            Step("agents ready", self.see_agents_ready, created, timedelta(seconds=10)),
            Step("pull request", self.see_pull_request, ready, timedelta(seconds=10)),
            Step("results recorded", self.see_records, ("pull request",), timedelta(seconds=5)),
            Step("model usage", self.see_usage, recorded),
            Step("artifact", self.see_artifact_only, recorded),
            Step("failure with its cause", self.see_failure, recorded),
            Step("bad file quarantined", self.see_quarantine, ("tasks committed",)),
            *self._editor_steps(ready),
            Step("dashboard", self.look_at_dashboard, recorded),
            Step(
                "second run by an edit",
                self.edit_starts_second_run,
                recorded,
                timedelta(seconds=15),
            ),
            Step("deletion pruned", self.deletion_is_pruned, recorded, timedelta(seconds=5)),
            *self._mesh_steps(("deletion pruned", "agents' peers")),
        ]

    def _editor_steps(self, ready: tuple[str, ...]) -> list[Step]:
        mesh, about = self.environment.mesh, timedelta(seconds=5)
        if mesh is None:
            return [Step("editor", self.open_editor, ready, about)]
        steps = MeshSteps(mesh, self.legs, self._until)
        return [
            Step("agents' peers", partial(steps.see_peers, self.environment.client), ready, about),
            Step("editor", self.open_editor, ("agents' peers",), about),
            Step("policy", steps.see_policy, ("agents' peers",), timedelta(seconds=10)),
        ]

    def _mesh_steps(self, removed: tuple[str, ...]) -> list[Step]:
        mesh = self.environment.mesh
        if mesh is None:
            return []
        steps = MeshSteps(mesh, self.legs, self._until)
        return [Step("peer removed", steps.see_peer_removed, removed)]

    async def _until(
        self, what: str, look: Look[T], within: timedelta, why: Look[str] | None = None
    ) -> T:
        return await until(what, look, within, why=why, check=self.environment.check)

    # --- a commit and what becomes of it -----------------------------------------------------

    async def commit_tasks(self) -> None:
        forge = self.repositories.urls
        files = {
            task_path(ACME, tasks.REPAIR): tasks.repair(forge),
            task_path(ACME, tasks.NOT_YAML): tasks.not_yaml(),
            task_path(GLOBEX, tasks.NOTES): tasks.notes(forge),
            task_path(GLOBEX, tasks.FAILING): tasks.failing(),
        }
        began = time.monotonic()
        commit = await self.repositories.commit(files, "Schedule four tasks in two orgs")
        pushed = time.monotonic()
        for org, task in ((ACME, tasks.REPAIR), (GLOBEX, tasks.NOTES), (GLOBEX, tasks.FAILING)):
            self.runs[task] = TaskRun(org, task, 1, pushed)
        self.legs.append(
            Leg("commit and push", pushed - began, f"{len(files)} files, {commit[:8]}")
        )

    async def see_agent_tasks(self) -> None:
        await all_of(self._follow_to_agent_task(run) for run in self.runs.values())
        for run in self.runs.values():
            assert run.agent_task is not None
            took = run.agent_task - run.committed
            self.legs.append(Leg("commit -> AgentTask", took, f"{run.org}/{run.task}"))

    async def see_agents_ready(self) -> None:
        await all_of(self._follow_to_ready(run) for run in self.runs.values())
        for run in self.runs.values():
            assert run.agent_task is not None
            assert run.pod_ready is not None
            took = run.pod_ready - run.agent_task
            self.legs.append(Leg("AgentTask -> pod ready", took, f"{run.org}/{run.task}"))

    async def see_pull_request(self) -> None:
        run = self.runs[tasks.REPAIR]

        async def look() -> dict[str, Any] | None:
            pulls = await self.repositories.pull_requests()
            return pulls[0] if pulls else None

        what = "pull request in the forge"
        self.pull_request = await self._until(what, look, _A_RUN, self._explain(run))
        run.published = time.monotonic()
        assert run.pod_ready is not None
        took = run.published - run.pod_ready
        self.legs.append(Leg("pod ready -> pull request", took, self.pull_request["html_url"]))

    async def see_records(self) -> None:
        await all_of(self._follow_to_record(run) for run in self.runs.values())
        run = self.runs[tasks.REPAIR]
        assert run.published is not None
        assert run.recorded is not None
        last_pr = await self.repositories.status_file(
            record.artifact_path(ACME, tasks.REPAIR, "last_pr.json")
        )
        if last_pr is None or last_pr.get("number") != self.pull_request["number"]:
            raise DemoFailed(f"last_pr.json on the status branch is {last_pr}")
        took = run.recorded - run.published
        detail = f"last_pr.json names #{last_pr['number']}, result {run.record['result']}"
        self.legs.append(Leg("pull request -> status commit", took, detail))

    async def see_usage(self) -> None:
        """What the gateway counted is what the model endpoint served."""
        path = record.artifact_path(ACME, tasks.REPAIR, "last_run.json")
        usage = (await self.repositories.status_file(path) or {}).get("usage") or {}
        served = await self.environment.served_by_model()
        if not usage or any(usage.get(name) != amount for name, amount in served.items()):
            raise DemoFailed(f"{path} reports {usage}, and the model served {served}")
        detail = (
            f"{usage['requests']} requests, {usage['inputTokens']} tokens in"
            f" ({usage['cachedInputTokens']} cached), {usage['outputTokens']} out,"
            f" {usage['costUsd']:.4f} USD"
        )
        self.legs.append(Leg(f"model usage of {model_endpoint.PRESET}", None, detail))

    async def see_artifact_only(self) -> None:
        path = record.artifact_path(GLOBEX, tasks.NOTES, "words.json")
        words = await self.repositories.status_file(path)
        if not words or not words.get("words"):
            raise DemoFailed(f"{path} on the status branch is {words}")
        self.legs.append(Leg("artifact without pull request", None, f"words.json: {words}"))

    async def see_failure(self) -> None:
        run = self.runs[tasks.FAILING]
        message = str(run.record.get("message", ""))
        if tasks.FAILURE_MESSAGE not in message:
            raise DemoFailed(f"the failure's message lacks its cause: {message!r}")
        detail = f"{run.record['result']}: {message.splitlines()[-1]}"
        self.legs.append(Leg("failure with its cause", None, detail))

    async def see_quarantine(self) -> None:
        path = task_path(ACME, tasks.NOT_YAML)

        async def look() -> dict[str, Any] | None:
            org = await self.repositories.status_file(record.org_record_path(ACME)) or {}
            return next((q for q in org.get("quarantined", []) if q["path"] == path), None)

        bad = await self._until(f"quarantine of {path}", look, _QUICK)
        if bad["line"] != tasks.NOT_YAML_LINE:
            raise DemoFailed(f"line {bad['line']}, not {tasks.NOT_YAML_LINE}", place=path)
        detail = f"{path}:{bad['line']}: {bad['message']}"
        self.legs.append(Leg("bad file quarantined", None, detail))

    # --- what people use ---------------------------------------------------------------------

    async def open_editor(self) -> None:
        began = time.monotonic()
        async with self.environment.editor(ACME, tasks.REPAIR) as page:
            if "code-server" not in page.text.lower():
                raise DemoFailed(f"the editor's page is not code-server's: {page.text[:200]}")
            took = time.monotonic() - began
            if page.mesh_address:
                self.legs.append(Leg("editor over the mesh", took, page.mesh_address))
            else:
                self.legs.append(Leg("editor through `guildnet editor`", took, page.address))

    async def look_at_dashboard(self) -> None:
        wanted = {
            "/": (ACME, GLOBEX),
            f"/orgs/{GLOBEX}": (tasks.NOTES, tasks.FAILING),
            f"/tasks/{ACME}/{tasks.REPAIR}": (self.pull_request["html_url"],),
            f"/tasks/{GLOBEX}/{tasks.FAILING}": (tasks.FAILURE_MESSAGE,),
            "/problems": (task_path(ACME, tasks.NOT_YAML),),
        }
        for path, texts in wanted.items():

            async def look(path: str = path, texts: tuple[str, ...] = texts) -> str | None:
                text = await self.environment.dashboard_page(path)
                return text if all(expected in text for expected in texts) else None

            await self._until(f"{' and '.join(texts)} on dashboard page {path}", look, _QUICK)
        address = self.environment.dashboard_address
        self.legs.append(Leg("dashboard", None, f"{len(wanted)} pages at {address}"))

    # --- edits -------------------------------------------------------------------------------

    async def edit_starts_second_run(self) -> None:
        files = {task_path(ACME, tasks.REPAIR): tasks.repair_edited(self.repositories.urls)}
        await self.repositories.commit(files, "Ask for a changelog as well")
        run = TaskRun(ACME, tasks.REPAIR, 2, time.monotonic())
        await self._follow_to_agent_task(run)
        assert run.agent_task is not None
        took = run.agent_task - run.committed
        self.legs.append(Leg("edit -> AgentTask", took, f"{run.org}/{run.task}, run 2"))
        await self._follow_to_record(run)
        if run.record["result"] != conditions.TASK_SUCCEEDED:
            raise DemoFailed(f"run 2 ended as {run.record['result']}: {run.record['message']}")
        pulls = await self.repositories.pull_requests()
        numbers = [pull["number"] for pull in pulls]
        if numbers != [self.pull_request["number"]]:
            raise DemoFailed(f"run 2 is not on the same pull request: {numbers}")
        changed = await self.repositories.pull_request_files(numbers[0])
        if not {"stats.py", "CHANGELOG.md"} <= set(changed):
            raise DemoFailed(f"the pull request changes only {changed}")
        assert run.recorded is not None
        detail = f"pull request #{numbers[0]} now changes {', '.join(sorted(changed))}"
        self.legs.append(Leg("edit -> run 2 recorded", run.recorded - run.committed, detail))

    async def deletion_is_pruned(self) -> None:
        await self.repositories.commit(
            {task_path(GLOBEX, tasks.FAILING): None}, "Give up on the broken build"
        )
        began = time.monotonic()
        client = self.environment.client(GLOBEX)

        async def gone() -> bool | None:
            found = await client.find(AGENT_TASKS, tasks.FAILING)
            return True if found is None else None

        async def tombstone() -> dict[str, Any] | None:
            path = record.removed_path(GLOBEX, tasks.FAILING)
            return await self.repositories.status_file(path)

        await self._until(f"deletion of AgentTask {tasks.FAILING}", gone, _A_RUN)
        took = time.monotonic() - began
        removed = await self._until("tombstone on the status branch", tombstone, _QUICK)
        detail = f"{GLOBEX}/{tasks.FAILING}; removed/ keeps run {removed['run']}"
        self.legs.append(Leg("deletion -> pruned", took, detail))

    # --- following one run -------------------------------------------------------------------

    async def _follow_to_agent_task(self, run: TaskRun) -> None:
        client = self.environment.client(run.org)

        async def look() -> dict[str, Any] | None:
            found = await client.find(AGENT_TASKS, run.task)
            return found if found and found["spec"]["run"] == run.number else None

        async def why() -> str:
            return explain_org(await self.repositories.status_file(record.org_record_path(run.org)))

        what = f"AgentTask {run.org}/{run.task} with run {run.number}"
        run.last_object = await self._until(what, look, _QUICK, why)
        run.agent_task = time.monotonic()

    async def _follow_to_ready(self, run: TaskRun) -> None:
        client = self.environment.client(run.org)
        selector = f"{labels.TASK}={run.task}"

        async def look() -> bool | None:
            for pod in await client.list_all(PODS, label_selector=selector):
                if conditions.is_true(pod.get("status", {}).get("conditions", ()), "Ready"):
                    return True
            return None

        what = f"ready agent of {run.org}/{run.task}"
        await self._until(what, look, _A_RUN, self._explain(run))
        run.pod_ready = time.monotonic()

    async def _follow_to_record(self, run: TaskRun) -> None:
        path = record.task_record_path(run.org, run.task)

        async def look() -> dict[str, Any] | None:
            found = await self.repositories.status_file(path)
            done = found and found["run"] == run.number and found.get("result")
            return found if done else None

        what = f"result of {run.org}/{run.task} on the status branch"
        run.record = await self._until(what, look, _A_RUN, self._explain(run))
        run.recorded = time.monotonic()

    def _explain(self, run: TaskRun) -> Look[str]:
        async def why() -> str:
            client = self.environment.client(run.org)
            return explain_agent_task(await client.find(AGENT_TASKS, run.task))

        return why
