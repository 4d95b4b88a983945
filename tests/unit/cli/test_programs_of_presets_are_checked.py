"""Whether an image has a preset's program, by the last run that needed it."""

from __future__ import annotations

from typing import Any

from guildnet_cli.cluster.agent_programs import missing_programs


def task(preset: str, code: int | None, ended: str = "1", image: str | None = None) -> Any:
    agent = {"preset": preset, **({"image": image} if image else {})}
    run = {} if code is None else {"lastRun": {"exitCode": code, "finishedAt": ended}}
    return {"spec": {"agent": agent}, "status": run}


def test_a_program_that_was_not_found_is_missing() -> None:
    present, missing = missing_programs([task("codex", 127, image="work:1"), task("pi", 1)])
    assert missing == ["codex in work:1"]
    assert present == ["pi in the operator's default image"]


def test_the_last_run_counts() -> None:
    tasks = [task("codex", 0, "2026-02-01T00:00:00Z"), task("codex", 127, "2026-01-01T00:00:00Z")]
    assert missing_programs(tasks) == (["codex in the operator's default image"], [])
    assert missing_programs(reversed(tasks)) == missing_programs(tasks)


def test_plain_commands_and_runs_without_an_end_show_nothing() -> None:
    tasks = [task("shell", 127), task("codex", None), {"spec": {}}, task("unheard-of", 127)]
    assert missing_programs(tasks) == ([], [])
