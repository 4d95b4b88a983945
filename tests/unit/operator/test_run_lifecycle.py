"""A run from a new AgentTask to its end, as its status shows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from guildnet.agent_api.artifacts import Artifact
from guildnet.agent_api.state import AgentState, Failure, Published
from guildnet_operator.decisions.actions import Start, Stop
from guildnet_operator.decisions.provision import BACKOFF
from guildnet_operator.decisions.slots import Admission
from guildnet_operator.references import Refusal
from guildnet_operator.views import ChildView, ContainerView


def test_a_new_task_gets_its_objects_and_is_provisioning(scene: Any) -> None:
    decision = scene.decide()
    assert decision.children == "ensure"
    assert decision.command is None
    assert scene.condition("Accepted") == ("True", "Valid")
    assert scene.condition("Ready") == ("False", "Provisioning")
    assert scene.condition("Succeeded") == ("Unknown", "Pending")
    assert scene.status["phase"] == "Provisioning"
    assert scene.status["attempt"] == 1


def test_a_start_is_in_status_before_it_is_sent(scene: Any) -> None:
    """I6: a start that was sent to an agent is never forgotten."""
    scene.settle()
    pod = scene.add_pod()
    scene.agent_waits()
    allocated = scene.decide()
    assert allocated.command is None
    assert (scene.status["start"], scene.status["pod"]) == (1, pod.name)
    decision = scene.decide()
    assert decision.command == Start(pod)
    assert decision.children == "keep"


def test_no_start_is_sent_before_the_agent_reported(scene: Any) -> None:
    scene.settle()
    scene.add_pod()
    decision = scene.settle()
    assert decision.command is None
    assert decision.poll is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"template": "sha256:old"},
        {"containers": (ContainerView("supervisor", ready=True), ContainerView("work"))},
        {"containers": (ContainerView("work", running=True),)},
    ],
)
def test_an_unfit_pod_gets_no_start(scene: Any, changes: dict[str, Any]) -> None:
    scene.settle()
    scene.add_pod(**changes)
    scene.agent_waits()
    scene.settle()
    assert scene.status["start"] == 0


def test_no_start_while_an_earlier_pod_is_left(scene: Any) -> None:
    scene.settle()
    scene.add_pod("old", deleted_at=scene.now)
    scene.add_pod("new")
    scene.agent_waits()
    scene.settle()
    assert scene.status["start"] == 0
    scene.pods.pop(0)
    scene.settle()
    assert (scene.status["start"], scene.status["pod"]) == (1, "new")


def test_an_ended_pod_does_not_block_the_next_start(scene: Any) -> None:
    scene.settle()
    scene.add_pod("evicted", phase="Failed", reason="Evicted")
    scene.add_pod("new")
    scene.agent_waits()
    scene.settle()
    assert scene.status["pod"] == "new"


def test_the_agent_is_followed_to_success(scene: Any) -> None:
    scene.started()
    assert scene.condition("Ready") == ("True", "AgentServing")
    assert scene.condition("EditorReady") == ("True", "Serving")
    assert scene.condition("Scheduled") == ("True", "PodScheduled")
    assert scene.status["phase"] == "Running"
    scene.agent_says(
        step="Finished",
        outcome="Succeeded",
        exit_code=0,
        finished_at=scene.now,
        started_at=scene.now,
        branch="guildnet/acme/fix-login",
        commit="c" * 40,
        published=Published("PullRequestOpened", "https://git.example/acme/web/pulls/1"),
        pull_request={"url": "https://git.example/acme/web/pulls/1", "number": 1},
        last_run={"run": 1, "attempt": 1, "exitCode": 0},
        artifacts=(Artifact("last_pr.json", 10, "b" * 64),),
        log_tail="done",
    )
    scene.settle()
    assert scene.condition("Succeeded") == ("True", "TaskSucceeded")
    assert scene.condition("Finished") == ("True", "TaskSucceeded")
    assert scene.condition("Ready") == ("True", "TaskSucceeded")
    assert scene.condition("Published") == ("True", "PullRequestOpened")
    assert scene.condition("ArtifactsCollected") == ("True", "Collected")
    assert scene.condition("Reconciling")[0] == scene.condition("Stalled")[0] == "False"
    assert scene.status["pullRequest"]["number"] == 1
    assert scene.status["logTail"] == "done"
    assert scene.status["branch"] == "guildnet/acme/fix-login"
    assert scene.status["finishedAt"]


def test_a_run_finishes_after_its_artifacts_are_collected(scene: Any, artifact: Artifact) -> None:
    """I6: a finished run is complete."""
    scene.started()
    end = {"step": "Finished", "outcome": "Succeeded", "finished_at": scene.now}
    scene.agent_says(**end, artifacts=(artifact,))
    decision = scene.settle()
    assert decision.collect
    assert scene.condition("Finished")[0] == "Unknown"
    scene.children["ConfigMap"] = ChildView(
        "ConfigMap", "fix-login-0f1e2", "u", "o", "fix-login",
        artifacts=((artifact.name, artifact.sha256),),
    )  # fmt: skip
    scene.settle()
    assert scene.condition("Finished") == ("True", "TaskSucceeded")
    assert scene.status["artifacts"] == [
        {"name": "report.json", "bytes": 12, "sha256": artifact.sha256}
    ]
    assert scene.status["artifactsConfigMap"] == "fix-login-0f1e2"


def test_artifacts_that_cannot_be_fetched_do_not_delay_the_end(
    scene: Any, artifact: Artifact
) -> None:
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded", artifacts=(artifact,))
    scene.agent = replace(scene.agent, collect_failures=5, collect_error="digest differs")
    scene.settle()
    assert scene.condition("Finished")[0] == "True"
    assert scene.condition("ArtifactsCollected") == ("False", "Missing")
    assert "report.json" in scene.message("ArtifactsCollected")


def test_an_artifact_that_is_still_fetched_is_not_missing(scene: Any, artifact: Artifact) -> None:
    """No Event reports a loss that is resolved a second later."""
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded", artifacts=(artifact,))
    pauses = []
    for failures in range(5):
        scene.agent = replace(scene.agent, collect_failures=failures, collect_error="no answer")
        decision = scene.settle()
        assert decision.collect
        assert scene.condition("ArtifactsCollected") == ("Unknown", "Pending")
        pauses.append((decision.wake_at - scene.now).total_seconds())
    assert pauses == [2, 4, 8, 16, 32]


def test_a_pod_lost_with_its_artifacts_delays_no_retry(
    scene: Any, failed_state: dict[str, Any], artifact: Artifact
) -> None:
    """I10: there is no agent left to fetch them from."""
    scene.started()
    scene.agent_says(**failed_state, artifacts=(artifact,))
    scene.pods.clear()
    decision = scene.settle()
    assert not decision.collect
    assert scene.status["attempt"] == 2


def test_collected_artifacts_are_listed_or_reported_as_none(scene: Any) -> None:
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now)
    scene.settle()
    assert scene.condition("ArtifactsCollected") == ("True", "Collected")
    assert scene.message("ArtifactsCollected") == "the command wrote none"


def test_every_finished_run_sets_artifacts_collected(scene: Any) -> None:
    scene.spec["cancel"] = True
    scene.settle()
    assert scene.condition("ArtifactsCollected") == ("True", "Collected")
    assert "never started" in scene.message("ArtifactsCollected")


def test_artifacts_of_a_lost_pod_are_missing(scene: Any) -> None:
    scene.started()
    scene.agent = None
    scene.pods.clear()
    scene.pass_time(hours=3)
    scene.settle()
    assert scene.condition("Finished") == ("True", "DeadlineExceeded")
    assert scene.condition("ArtifactsCollected") == ("False", "Missing")


def test_a_failed_command_costs_an_attempt(scene: Any, failed_state: dict[str, Any]) -> None:
    scene.started()
    for attempt in (1, 2):
        assert scene.status["attempt"] == attempt
        scene.agent_says(**failed_state)
        decision = scene.settle()
        assert decision.command == Start(scene.pods[0])
        assert (scene.status["attempt"], scene.status["start"]) == (attempt + 1, 1)
        assert "startedAt" not in scene.status
        scene.agent_says(step="Running", started_at=scene.now)
        scene.settle()
    scene.agent_says(**failed_state)
    scene.settle()
    assert scene.condition("Succeeded") == ("False", "RetriesExhausted")
    assert "exit code 3" in scene.message("Succeeded")
    assert scene.condition("Stalled")[0] == "True"
    assert scene.status["logTail"] == "no such file"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("PushRejected", ("Published", "False", "PushRejected")),
        ("ForgeRefused", ("Published", "False", "ForgeRefused")),
        ("InvalidSpec", ("Accepted", "False", "InvalidSpec")),
    ],
)
def test_failures_beyond_the_command_are_not_retried(
    scene: Any, reason: str, expected: tuple[str, str, str]
) -> None:
    """I10: the command is not the cause; the message says what to do."""
    scene.started()
    why = Failure(reason, "branch x: refused (give the git Secret the right to push)")
    scene.agent_says(
        step="Finished", outcome="Failed", exit_code=0, failure=why, finished_at=scene.now
    )
    assert scene.settle().command is None
    assert scene.status["attempt"] == 1
    assert scene.condition("Succeeded") == ("False", "TaskFailed")
    assert scene.condition("Finished") == ("True", "TaskFailed")
    kind, *verdict = expected
    assert scene.condition(kind) == tuple(verdict)
    assert "right to push" in scene.message(kind)
    assert "right to push" in scene.message("Succeeded")


def test_an_unavailable_forge_before_the_command_costs_a_start(scene: Any) -> None:
    scene.started()
    why = Failure("ForgeRefused", "git.example: 503", infrastructure=True)
    scene.agent_says(step="Finished", outcome="Failed", failure=why, finished_at=scene.now)
    scene.settle()
    assert scene.condition("Finished")[0] == "Unknown"


def test_without_retries_it_is_a_failed_task(scene: Any, failed_state: dict[str, Any]) -> None:
    scene.spec["retries"] = 0
    scene.started()
    scene.agent_says(**failed_state)
    scene.settle()
    assert scene.condition("Succeeded") == ("False", "TaskFailed")
    assert scene.condition("Finished") == ("True", "TaskFailed")


def test_a_failed_context_is_named(scene: Any) -> None:
    """I10"""
    scene.spec["retries"] = 0
    scene.started()
    why = Failure("ContextFailed", "web: git.example does not answer")
    scene.agent_says(step="Finished", outcome="Failed", failure=why)
    scene.settle()
    assert scene.condition("Ready") == ("False", "ContextFailed")
    assert "git.example" in scene.message("Ready")


def test_a_work_container_that_does_not_start_is_named(scene: Any) -> None:
    """I10"""
    scene.started()
    scene.agent_says(step="Preparing")
    supervisor = scene.pods[0].containers[0]
    work = ContainerView("work", waiting="CrashLoopBackOff", last_exit=1)
    scene.pods[0] = replace(scene.pods[0], containers=(supervisor, work))
    scene.settle()
    assert scene.condition("Ready") == ("False", "CrashLooping")
    assert "kubectl logs -c work --previous" in scene.message("Ready")


def test_a_lost_pod_costs_a_start_and_not_an_attempt(scene: Any) -> None:
    scene.started()
    scene.pods.clear()
    scene.settle()
    assert "pod-1 is gone" in scene.message("Ready")
    scene.add_pod("pod-2")
    scene.agent_waits()
    scene.settle()
    assert scene.status["start"] == 1
    scene.pass_time(seconds=11)
    decision = scene.settle()
    assert decision.command == Start(scene.pods[0])
    assert [scene.status[k] for k in ("attempt", "start", "pod")] == [1, 2, "pod-2"]


def test_the_cause_of_a_lost_start_stays_after_its_pod_is_gone(scene: Any) -> None:
    """I4: also after a restart of the operator."""
    scene.started()
    why = Failure("Interrupted", "the work container restarted", infrastructure=True)
    scene.agent_says(step="Finished", outcome="Failed", failure=why, finished_at=scene.now)
    scene.settle()
    scene.pods.clear()
    scene.settle()
    before = scene.status
    scene.agent = None
    scene.settle()
    assert scene.status == before
    assert "the work container restarted" in scene.message("Ready")


def test_an_evicted_pod_costs_a_start_though_it_stays_listed(scene: Any) -> None:
    """An evicted pod stays listed, but nothing in it runs any more."""
    scene.started()
    scene.pods[0] = replace(
        scene.pods[0], phase="Failed", reason="Evicted", message="low on memory", containers=()
    )
    assert scene.settle().children == "ensure"
    assert scene.condition("Ready") == ("False", "Evicted")
    assert "low on memory" in scene.message("Ready")
    scene.add_pod("pod-2")
    scene.agent_waits()
    scene.pass_time(seconds=11)
    assert scene.settle().command == Start(scene.pods[1])
    assert [scene.status[k] for k in ("attempt", "start", "pod")] == [1, 2, "pod-2"]


def test_an_end_reported_before_the_pod_was_lost_counts(scene: Any) -> None:
    """I7: a finished start does not run again because its pod was lost."""
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now)
    scene.pods.clear()
    scene.settle()
    assert scene.condition("Succeeded") == ("True", "TaskSucceeded")


def test_failed_infrastructure_is_restarted_in_the_same_pod(scene: Any) -> None:
    scene.started()
    why = Failure("Interrupted", "the work container restarted", infrastructure=True)
    scene.agent_says(step="Finished", outcome="Failed", failure=why, finished_at=scene.now)
    decision = scene.settle()
    assert decision.command is None
    assert decision.wake_at == scene.now + timedelta(seconds=10)
    assert "restarted" in scene.message("Ready")
    scene.pass_time(seconds=10)
    assert scene.settle().command == Start(scene.pods[0])
    assert (scene.status["attempt"], scene.status["start"]) == (1, 2)


def test_starts_that_were_ended_on_purpose_are_not_lost(scene: Any) -> None:
    """A task that is suspended every night does not become Stalled at the next lost pod."""
    scene.started()
    for night in range(12):
        scene.spec["suspend"] = True
        scene.settle()
        scene.agent_says(step="Stopped", outcome="Stopped")
        scene.settle()
        scene.pods.clear()
        scene.spec["suspend"] = False
        scene.settle()
        scene.add_pod(f"pod-{night + 2}")
        scene.agent_waits()
        scene.settle()
        scene.agent_says(step="Running")
        scene.settle()
    assert (scene.status["start"], scene.status["lostStarts"]) == (13, 0)
    scene.pods.clear()
    assert scene.settle().children == "ensure"
    scene.add_pod("last")
    scene.agent_waits()
    scene.settle()
    scene.pass_time(seconds=10)
    scene.settle()
    assert (scene.status["start"], scene.status["lostStarts"]) == (14, 1)


def test_pauses_between_starts_grow_to_five_minutes() -> None:
    seconds = [BACKOFF.ceiling(starts).total_seconds() for starts in (1, 2, 3, 4, 5, 6, 7, 50)]
    assert seconds == [10, 20, 40, 80, 160, 300, 300, 300]


def test_ten_consecutive_lost_starts_stall_the_task(scene: Any) -> None:
    scene.started()
    scene.status |= {"start": 12, "lostStarts": 8}
    scene.pods.clear()
    assert scene.settle().children == "ensure", "the ninth in a row"
    scene.status["lostStarts"] = 9
    decision = scene.settle()
    assert scene.condition("Stalled") == ("True", "TooManyStarts")
    assert decision.children == "park"
    assert decision.wake_at == scene.observed().deadline
    assert scene.condition("Finished")[0] == "Unknown"


def test_the_deadline_is_kept_from_the_status(scene: Any) -> None:
    scene.started()
    assert scene.settle().wake_at == scene.now + timedelta(hours=2)
    scene.pass_time(hours=2)
    decision = scene.settle()
    assert decision.command == Stop(scene.pods[0], "DeadlineExceeded")
    scene.agent_says(step="Stopped", outcome="Stopped", branch="guildnet/acme/fix-login")
    scene.settle()
    assert scene.condition("Succeeded") == ("False", "DeadlineExceeded")
    assert scene.status["branch"] == "guildnet/acme/fix-login"


def test_a_deadline_missed_while_the_operator_was_away_is_kept(scene: Any) -> None:
    scene.started()
    scene.agent = None
    scene.pods.clear()
    scene.pass_time(hours=3)
    scene.settle()
    assert scene.condition("Succeeded") == ("False", "DeadlineExceeded")


def test_publishing_is_not_cut_off_by_the_deadline(scene: Any) -> None:
    scene.started()
    scene.agent_says(step="Publishing", started_at=scene.now)
    scene.pass_time(hours=3)
    assert scene.settle().command is None
    assert scene.status["phase"] == "Publishing"


def test_a_stop_is_repeated_only_if_it_had_no_effect(scene: Any) -> None:
    scene.started()
    scene.spec["cancel"] = True
    assert scene.settle().command == Stop(scene.pods[0], "Cancelled")
    scene.agent = replace(scene.agent, stop_sent=((1, 1, 1), "Cancelled", scene.now))
    assert scene.settle().command is None
    scene.pass_time(seconds=21)
    assert scene.settle().command == Stop(scene.pods[0], "Cancelled")


def test_cancel_publishes_the_work_then_parks(scene: Any) -> None:
    scene.started()
    scene.spec["cancel"] = True
    scene.settle()
    assert scene.condition("Finished")[0] == "Unknown"
    scene.agent_says(step="Stopped", outcome="Stopped", branch="guildnet/acme/fix-login")
    scene.settle()
    assert scene.condition("Succeeded") == ("False", "Cancelled")
    assert "guildnet/acme/fix-login" in scene.message("Succeeded")
    scene.children["Deployment"] = ChildView("Deployment", "x", "u", "o", "t", replicas=1)
    assert scene.settle().children == "park"


def test_a_run_that_ended_before_its_cancellation_keeps_its_result(scene: Any) -> None:
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded")
    scene.spec["cancel"] = True
    scene.settle()
    assert scene.condition("Succeeded") == ("True", "TaskSucceeded")


@pytest.mark.parametrize("why", ["cancel", "deleting"])
def test_a_task_that_never_started_is_cancelled_at_once(scene: Any, why: str) -> None:
    scene.spec["cancel"] = why == "cancel"
    scene.deleting = why == "deleting"
    scene.settle()
    assert scene.condition("Finished") == ("True", "Cancelled")


def test_suspend_keeps_the_workspace_and_pauses_the_timeout(scene: Any) -> None:
    scene.started()
    started = scene.now
    scene.pass_time(hours=1)
    scene.spec["suspend"] = True
    assert scene.settle().command == Stop(scene.pods[0], "Suspended")
    scene.agent_says(step="Stopped", outcome="Stopped", started_at=started)
    scene.children["Deployment"] = ChildView("Deployment", "x", "u", "o", "t", replicas=1)
    assert scene.settle().children == "park"
    assert scene.condition("Suspended") == ("True", "Suspended")
    assert scene.condition("Ready") == ("False", "Suspended")
    scene.pods.clear()
    scene.pass_time(hours=5)
    scene.settle()
    assert scene.condition("Finished")[0] == "Unknown"
    scene.spec["suspend"] = False
    assert scene.settle().children == "ensure"
    assert scene.condition("Suspended")[0] == "False"
    deadline = scene.observed().deadline
    assert deadline == scene.now + timedelta(hours=1)
    scene.add_pod("pod-2")
    scene.agent_waits()
    assert scene.settle().command == Start(scene.pods[0])
    assert (scene.status["attempt"], scene.status["start"]) == (1, 2)


def test_an_unreachable_agent_is_parked(scene: Any) -> None:
    scene.started()
    scene.agent = replace(scene.agent, failing_since=scene.now, error="connection refused")
    scene.pass_time(seconds=31)
    scene.settle()
    assert "connection refused" in scene.message("Ready")
    scene.spec["cancel"] = True
    assert scene.settle().children == "park"
    scene.pods[0] = replace(scene.pods[0], deleted_at=scene.now)
    scene.settle()
    assert scene.condition("Finished")[0] == "Unknown"
    scene.pass_time(seconds=181)
    scene.settle()
    assert scene.condition("Finished") == ("True", "Cancelled")


def test_refused_tasks_say_what_to_do_and_create_nothing(scene: Any) -> None:
    """I10"""
    scene.refusal = Refusal("SecretNotFound", "there is no Secret forge: guildnet secret set ...")
    decision = scene.settle()
    assert decision.children == "keep"
    assert scene.condition("Accepted") == ("False", "SecretNotFound")
    assert "guildnet secret set" in scene.message("Accepted")
    assert scene.condition("Stalled")[0] == "True"
    scene.refusal = None
    assert scene.settle().children == "ensure"
    assert scene.condition("Stalled")[0] == "False"


def test_waiting_for_a_slot(scene: Any) -> None:
    scene.admission = Admission(False, 3, 5, 7)
    decision = scene.settle()
    assert decision.children == "keep"
    assert scene.condition("Scheduled") == ("False", "Queued")
    assert scene.message("Scheduled") == "3rd of 7 in the queue; limits.maxActive is 5"
    assert scene.status["attempt"] == 0
    scene.admission = Admission(True)
    assert scene.settle().children == "ensure"
    assert scene.condition("Scheduled") == ("Unknown", "Pending"), "it is not queued any more"


def test_waiting_for_other_tasks(scene: Any) -> None:
    scene.spec |= {"dependsOn": ["other"], "dependenciesSucceeded": False}
    assert scene.settle().children == "keep"
    assert scene.condition("Scheduled") == ("False", "DependencyPending")
    scene.failed_dependency = "other"
    scene.settle()
    assert scene.condition("Scheduled") == ("False", "DependencyFailed")
    scene.spec["dependenciesSucceeded"] = True
    assert scene.settle().children == "ensure"


def test_an_exceeded_quota_is_named_while_no_pod_can_be_created(scene: Any) -> None:
    """I10"""
    scene.settle()
    scene.blocking_error = "exceeded quota: pods=2, used 2"
    scene.settle()
    assert scene.condition("Scheduled") == ("False", "QuotaExceeded")
    assert "exceeded quota" in scene.message("Scheduled")


def test_a_new_claim_is_not_reported_as_pending_at_once(scene: Any) -> None:
    scene.settle()
    unbound = "pod has unbound immediate PersistentVolumeClaims"
    scene.add_pod(
        phase="Pending", scheduled=False, node="", containers=(), unschedulable=unbound,
        unschedulable_since=scene.now,
    )  # fmt: skip
    scene.settle()
    assert scene.condition("Scheduled") == ("Unknown", "Pending")
    scene.pass_time(seconds=5)
    scene.settle()
    assert scene.condition("Scheduled") == ("False", "VolumePending")


def test_a_resume_resets_what_the_earlier_pod_showed(scene: Any) -> None:
    scene.started()
    scene.spec["suspend"] = True
    scene.settle()
    scene.agent_says(step="Stopped", outcome="Stopped")
    scene.settle()
    scene.pods.clear()
    scene.spec["suspend"] = False
    scene.settle()
    assert scene.condition("Scheduled") == ("Unknown", "Pending")
    scene.add_pod("pod-2")
    scene.agent_waits()
    scene.settle()
    assert scene.condition("Scheduled") == ("True", "PodScheduled")


def test_a_lost_node_is_named_while_the_replacement_pod_waits(scene: Any) -> None:
    """I10: the old pod is the cause, and cannot end without its node."""
    scene.started()
    scene.pods[0] = replace(scene.pods[0], node_lost=True)
    scene.settle()
    assert scene.condition("Ready") == ("False", "NodeLost")
    scene.pods[0] = replace(scene.pods[0], deleted_at=scene.now, disrupted="taint manager")
    scene.add_pod("pod-2", phase="Pending", scheduled=False, unschedulable="0/1 nodes")
    scene.settle()
    assert scene.condition("Ready") == ("False", "NodeLost")
    assert "node-1" in scene.message("Ready")


def test_after_the_end_the_editor_stays_for_a_while(scene: Any) -> None:
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now)
    scene.children["Deployment"] = ChildView("Deployment", "x", "u", "o", "t", replicas=1)
    decision = scene.settle()
    assert decision.children == "keep"
    assert decision.poll is None
    assert decision.wake_at == scene.now + timedelta(hours=1)
    scene.pass_time(hours=1)
    assert scene.settle().children == "park"
    scene.pods.clear()
    scene.settle()
    assert scene.condition("EditorReady") == ("False", "Stopped")
    assert scene.condition("Ready") == ("True", "TaskSucceeded")


def test_a_pod_that_comes_back_after_the_end_is_only_an_editor(scene: Any) -> None:
    """I7"""
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now)
    scene.settle()
    scene.pods.clear()
    scene.add_pod("pod-2")
    scene.agent_waits()
    decision = scene.settle()
    assert decision.command is None
    assert scene.status["start"] == 1


def test_without_an_editor_the_pod_is_scaled_down_at_once(scene: Any) -> None:
    scene.spec["editor"] = {"enabled": False}
    scene.started()
    assert scene.condition("EditorReady") == ("False", "Disabled")
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now)
    scene.children["Deployment"] = ChildView("Deployment", "x", "u", "o", "t", replicas=1)
    assert scene.settle().children == "park"


def test_an_edit_ends_the_old_run_before_the_new_one_starts(scene: Any) -> None:
    scene.started()
    scene.spec |= {"run": 2, "onChange": "Restart"}
    scene.generation = 2
    assert scene.settle().command == Stop(scene.pods[0], "Superseded")
    assert scene.status["run"] == 1
    scene.agent_says(step="Stopped", outcome="Stopped", branch="guildnet/acme/fix-login")
    scene.template = "sha256:t2"
    scene.settle()
    assert scene.status["run"] == 2
    assert (scene.status["attempt"], scene.status["start"]) == (1, 0)
    assert scene.condition("Succeeded") == ("Unknown", "Pending")
    entry = scene.status["history"][0]
    assert (entry["run"], entry["result"], entry["starts"]) == (1, "Cancelled", 1)
    assert entry["branch"] == "guildnet/acme/fix-login"
    assert "branch" not in scene.status
    scene.pods.clear()
    scene.add_pod("pod-2")
    scene.agent_waits()
    assert scene.settle().command == Start(scene.pods[0])
    assert [scene.status[k] for k in ("run", "attempt", "start")] == [2, 1, 1]


def test_an_edit_can_let_the_old_run_finish(scene: Any) -> None:
    scene.started()
    scene.spec |= {"run": 2, "onChange": "Ignore"}
    assert scene.settle().command is None
    assert scene.status["run"] == 1
    scene.agent_says(step="Finished", outcome="Succeeded", pull_request={"url": "https://x/1"})
    scene.settle()
    assert scene.status["run"] == 2
    entry = scene.status["history"][0]
    assert (entry["result"], entry["pullRequest"]) == ("TaskSucceeded", "https://x/1")


def test_an_edit_after_the_end_starts_the_next_run(scene: Any) -> None:
    scene.started()
    scene.agent_says(step="Finished", outcome="Succeeded", finished_at=scene.now)
    scene.settle()
    scene.spec["run"] = 2
    scene.template = "sha256:t2"
    assert scene.settle().children == "ensure"
    assert scene.status["history"][0]["result"] == "TaskSucceeded"
    assert scene.condition("Finished") == ("Unknown", "Pending")


def test_history_is_bounded(scene: Any) -> None:
    scene.status = {"run": 30, "history": [{"run": n, "result": "x"} for n in range(29, 19, -1)]}
    scene.spec["run"] = 31
    scene.settle()
    assert [entry["run"] for entry in scene.status["history"]] == list(range(30, 20, -1))


def test_a_refused_pull_request_is_reported(scene: Any) -> None:
    """I10"""
    scene.started()
    scene.agent_says(step="Publishing", published=Published("Retrying", "git.example: 503"))
    scene.settle()
    assert scene.condition("Published") == ("False", "Retrying")
    assert "503" in scene.message("Published")


def test_an_agent_busy_with_something_older_is_stopped_first(scene: Any) -> None:
    scene.started()
    scene.agent = replace(scene.agent, state=AgentState(run=1, attempt=1, start=0, step="Running"))
    assert scene.settle().command == Stop(scene.pods[0], "Superseded")
