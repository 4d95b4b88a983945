"""Metrics count each written change of a status once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from guildnet_operator.metrics import Metrics


def value(metrics: Metrics, line: str) -> float:
    found = [
        text for text in metrics.exposition().decode().splitlines() if text.startswith(f"{line} ")
    ]
    assert len(found) == 1, line
    return float(found[0].rpartition(" ")[2])


class Counted:
    """A scene that counts every written status."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.metrics = Metrics()

    def settle(self) -> None:
        for _ in range(10):
            before = dict(self.scene.status)
            self.scene.decide()
            if self.scene.status == before:
                return
            self.metrics.status_written(before, self.scene.status, self.scene.now)


def test_starts_readiness_and_results_are_counted_once(scene: Any) -> None:
    counted = Counted(scene)
    counted.settle()
    scene.now += timedelta(seconds=4)
    scene.add_pod()
    scene.agent_waits()
    counted.settle()
    scene.agent_says(step="Running", started_at=scene.now)
    counted.settle()
    scene.agent_says(step="Publishing", started_at=scene.now)
    counted.settle()
    scene.agent_says(step="Finished", outcome="Succeeded")
    counted.settle()
    counted.settle()
    metrics = counted.metrics
    assert value(metrics, "guildnet_operator_starts_total") == 1
    assert value(metrics, "guildnet_operator_time_to_ready_seconds_count") == 1
    assert value(metrics, "guildnet_operator_time_to_ready_seconds_sum") == 4
    ends = 'guildnet_operator_outcomes_total{reason="%s"}'
    assert value(metrics, ends % "TaskSucceeded") == 1
    assert value(metrics, ends % "Cancelled") == 0


def test_a_superseded_run_is_counted(scene: Any) -> None:
    counted = Counted(scene)
    scene.started()
    scene.spec |= {"run": 2, "onChange": "Restart"}
    counted.settle()
    scene.agent_says(step="Stopped", outcome="Stopped")
    counted.settle()
    ends = 'guildnet_operator_outcomes_total{reason="Cancelled"}'
    assert value(counted.metrics, ends) == 1


def test_each_request_is_counted_by_verb_and_code() -> None:
    metrics = Metrics()
    for verb, code in (("apply", 200), ("apply", 200), ("patch", 409), ("get", 0)):
        metrics.requested(verb, code)
    requests = 'guildnet_operator_api_requests_total{code="%s",verb="%s"}'
    assert value(metrics, requests % (200, "apply")) == 2
    assert value(metrics, requests % (409, "patch")) == 1
    assert value(metrics, requests % (0, "get")) == 1
