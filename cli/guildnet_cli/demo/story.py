"""The demo's story, chapter by chapter. Each waits for what must happen and notes how long it took.

The end-to-end tests walk through the same chapters and assert on what each leaves behind.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from guildnet import conditions, labels, record
from guildnet.kube.kinds import AGENT_TASKS, PODS
from guildnet.resources import task_path
from guildnet_cli.demo import tasks
from guildnet_cli.demo.grounds import ACME, GLOBEX
from guildnet_cli.demo.report import Leg
from guildnet_cli.demo.surroundings import Surroundings
from guildnet_cli.demo.telling import (
    Chapter,
    DemoFailed,
    Look,
    agent_task_told,
    all_of,
    org_told,
    until,
)

T = TypeVar("T")

_QUICK = timedelta(seconds=60)
_A_RUN = timedelta(minutes=5)


@dataclass
class Life:
    """When, by a monotonic clock in seconds, each thing was first seen of one task's run."""

    org: str
    task: str
    run: int
    committed: float
    agent_task: float | None = None
    pod_ready: float | None = None
    published: float | None = None
    finished: float | None = None
    recorded: float | None = None
    last_object: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)


class Story:
    """Tells the story in `surroundings`; `legs` grows with each chapter."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.surroundings = surroundings
        self.repositories = surroundings.repositories
        self.legs: list[Leg] = []
        self.lives: dict[str, Life] = {}
        self.pull_request: dict[str, Any] = {}

    @property
    def chapters(self) -> list[Chapter]:
        """In the order they must be told."""
        tasks_there, worked, recorded = ("AgentTasks",), ("agents ready",), ("results recorded",)
        return [
            Chapter("tasks committed", self.commit_tasks),
            Chapter("AgentTasks", self.see_agent_tasks, ("tasks committed",)),
            Chapter("agents ready", self.see_agents_ready, tasks_there, timedelta(seconds=10)),
            Chapter("pull request", self.see_pull_request, worked, timedelta(seconds=10)),
            Chapter("results recorded", self.see_records, ("pull request",), timedelta(seconds=5)),
            Chapter("artifact", self.see_artifact_only, recorded),
            Chapter("failure with its cause", self.see_failure, recorded),
            Chapter("bad file quarantined", self.see_quarantine, ("tasks committed",)),
            Chapter("editor", self.open_editor, worked, timedelta(seconds=5)),
            Chapter("dashboard", self.look_at_dashboard, recorded),
            Chapter(
                "second run by an edit",
                self.edit_starts_second_run,
                recorded,
                timedelta(seconds=15),
            ),
            Chapter("deletion pruned", self.deletion_is_pruned, recorded, timedelta(seconds=5)),
        ]

    async def _until(
        self, what: str, look: Look[T], within: timedelta, why: Look[str] | None = None
    ) -> T:
        return await until(what, look, within, why=why, check=self.surroundings.check)

    # --- a commit and what becomes of it -----------------------------------------------------

    async def commit_tasks(self) -> None:
        forge = self.repositories.places
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
            self.lives[task] = Life(org, task, 1, pushed)
        self.legs.append(
            Leg("commit and push", pushed - began, f"{len(files)} files, {commit[:8]}")
        )

    async def see_agent_tasks(self) -> None:
        await all_of(self._follow_to_agent_task(life) for life in self.lives.values())
        for life in self.lives.values():
            assert life.agent_task is not None
            took = life.agent_task - life.committed
            self.legs.append(Leg("commit -> AgentTask", took, f"{life.org}/{life.task}"))

    async def see_agents_ready(self) -> None:
        await all_of(self._follow_to_ready(life) for life in self.lives.values())
        for life in self.lives.values():
            assert life.agent_task is not None
            assert life.pod_ready is not None
            took = life.pod_ready - life.agent_task
            self.legs.append(Leg("AgentTask -> pod ready", took, f"{life.org}/{life.task}"))

    async def see_pull_request(self) -> None:
        life = self.lives[tasks.REPAIR]

        async def look() -> dict[str, Any] | None:
            pulls = await self.repositories.pull_requests()
            return pulls[0] if pulls else None

        what = "pull request in the forge"
        self.pull_request = await self._until(what, look, _A_RUN, self._told_of(life))
        life.published = time.monotonic()
        assert life.pod_ready is not None
        took = life.published - life.pod_ready
        self.legs.append(Leg("pod ready -> pull request", took, self.pull_request["html_url"]))

    async def see_records(self) -> None:
        await all_of(self._follow_to_record(life) for life in self.lives.values())
        life = self.lives[tasks.REPAIR]
        assert life.published is not None
        assert life.recorded is not None
        last_pr = await self.repositories.status_file(
            record.artifact_path(ACME, tasks.REPAIR, "last_pr.json")
        )
        if last_pr is None or last_pr.get("number") != self.pull_request["number"]:
            raise DemoFailed(f"last_pr.json on the status branch is {last_pr}")
        took = life.recorded - life.published
        detail = f"last_pr.json names #{last_pr['number']}, result {life.record['result']}"
        self.legs.append(Leg("pull request -> status commit", took, detail))

    async def see_artifact_only(self) -> None:
        path = record.artifact_path(GLOBEX, tasks.NOTES, "words.json")
        words = await self.repositories.status_file(path)
        if not words or not words.get("words"):
            raise DemoFailed(f"{path} on the status branch is {words}")
        self.legs.append(Leg("artifact without pull request", None, f"words.json: {words}"))

    async def see_failure(self) -> None:
        life = self.lives[tasks.FAILING]
        message = str(life.record.get("message", ""))
        if tasks.FAILURE_MESSAGE not in message:
            raise DemoFailed(f"the failure's cause is not said: {message!r}")
        detail = f"{life.record['result']}: {message.splitlines()[-1]}"
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

    # --- what people look at -----------------------------------------------------------------

    async def open_editor(self) -> None:
        began = time.monotonic()
        async with self.surroundings.editor(ACME, tasks.REPAIR) as page:
            if "code-server" not in page.text.lower():
                raise DemoFailed(f"the editor's page is not code-server's: {page.text[:200]}")
            took = time.monotonic() - began
            self.legs.append(Leg("editor through `guildnet editor`", took, page.address))

    async def look_at_dashboard(self) -> None:
        wanted = {
            "/": (ACME, GLOBEX),
            f"/orgs/{GLOBEX}": (tasks.NOTES, tasks.FAILING),
            f"/tasks/{ACME}/{tasks.REPAIR}": (self.pull_request["html_url"],),
            f"/tasks/{GLOBEX}/{tasks.FAILING}": (tasks.FAILURE_MESSAGE,),
            "/problems": (task_path(ACME, tasks.NOT_YAML),),
        }
        for path, words in wanted.items():

            async def look(path: str = path, words: tuple[str, ...] = words) -> str | None:
                text = await self.surroundings.dashboard_page(path)
                return text if all(word in text for word in words) else None

            await self._until(f"{' and '.join(words)} on dashboard page {path}", look, _QUICK)
        address = self.surroundings.dashboard_address
        self.legs.append(Leg("dashboard", None, f"{len(wanted)} pages at {address}"))

    # --- edits -------------------------------------------------------------------------------

    async def edit_starts_second_run(self) -> None:
        files = {task_path(ACME, tasks.REPAIR): tasks.repair_edited(self.repositories.places)}
        await self.repositories.commit(files, "Ask for a changelog as well")
        life = Life(ACME, tasks.REPAIR, 2, time.monotonic())
        await self._follow_to_agent_task(life)
        assert life.agent_task is not None
        took = life.agent_task - life.committed
        self.legs.append(Leg("edit -> AgentTask", took, f"{life.org}/{life.task}, run 2"))
        await self._follow_to_record(life)
        if life.record["result"] != conditions.TASK_SUCCEEDED:
            raise DemoFailed(f"run 2 ended as {life.record['result']}: {life.record['message']}")
        pulls = await self.repositories.pull_requests()
        numbers = [pull["number"] for pull in pulls]
        if numbers != [self.pull_request["number"]]:
            raise DemoFailed(f"run 2 is not on the same pull request: {numbers}")
        changed = await self.repositories.pull_request_files(numbers[0])
        if not {"stats.py", "CHANGELOG.md"} <= set(changed):
            raise DemoFailed(f"the pull request changes only {changed}")
        assert life.recorded is not None
        detail = f"pull request #{numbers[0]} now changes {', '.join(sorted(changed))}"
        self.legs.append(Leg("edit -> run 2 recorded", life.recorded - life.committed, detail))

    async def deletion_is_pruned(self) -> None:
        await self.repositories.commit(
            {task_path(GLOBEX, tasks.FAILING): None}, "Give up on the broken build"
        )
        began = time.monotonic()
        client = self.surroundings.client(GLOBEX)

        async def gone() -> bool | None:
            found = await client.find(AGENT_TASKS, tasks.FAILING)
            return True if found is None else None

        async def tombstone() -> dict[str, Any] | None:
            path = record.removed_path(GLOBEX, tasks.FAILING)
            return await self.repositories.status_file(path)

        await self._until(f"end of AgentTask {tasks.FAILING}", gone, _A_RUN)
        took = time.monotonic() - began
        removed = await self._until("tombstone on the status branch", tombstone, _QUICK)
        detail = f"{GLOBEX}/{tasks.FAILING}; removed/ keeps run {removed['run']}"
        self.legs.append(Leg("deletion -> pruned", took, detail))

    # --- following one run -------------------------------------------------------------------

    async def _follow_to_agent_task(self, life: Life) -> None:
        client = self.surroundings.client(life.org)

        async def look() -> dict[str, Any] | None:
            found = await client.find(AGENT_TASKS, life.task)
            return found if found and found["spec"]["run"] == life.run else None

        async def why() -> str:
            return org_told(await self.repositories.status_file(record.org_record_path(life.org)))

        what = f"AgentTask {life.org}/{life.task} with run {life.run}"
        life.last_object = await self._until(what, look, _QUICK, why)
        life.agent_task = time.monotonic()

    async def _follow_to_ready(self, life: Life) -> None:
        client = self.surroundings.client(life.org)
        selector = f"{labels.TASK}={life.task}"

        async def look() -> bool | None:
            for pod in await client.list_all(PODS, label_selector=selector):
                if conditions.is_true(pod.get("status", {}).get("conditions", ()), "Ready"):
                    return True
            return None

        what = f"ready agent of {life.org}/{life.task}"
        await self._until(what, look, _A_RUN, self._told_of(life))
        life.pod_ready = time.monotonic()

    async def _follow_to_record(self, life: Life) -> None:
        path = record.task_record_path(life.org, life.task)

        async def look() -> dict[str, Any] | None:
            found = await self.repositories.status_file(path)
            done = found and found["run"] == life.run and found.get("result")
            return found if done else None

        what = f"result of {life.org}/{life.task} on the status branch"
        life.record = await self._until(what, look, _A_RUN, self._told_of(life))
        life.recorded = time.monotonic()

    def _told_of(self, life: Life) -> Look[str]:
        async def why() -> str:
            client = self.surroundings.client(life.org)
            return agent_task_told(await client.find(AGENT_TASKS, life.task))

        return why
