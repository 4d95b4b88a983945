"""Records and runs: numbering only grows, what is finished stays finished, nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet import labels, record
from guildnet.digest import readable_json
from guildnet.record import OrgRecord, Removed, TaskRecord, record_of, wanted_run

DIGESTS = st.sampled_from(["sha256:a", "sha256:b", "sha256:c"])
RESULTS = st.sampled_from(["TaskSucceeded", "TaskFailed", "Cancelled"])
RUNS = st.integers(1, 5)
RECORDS = st.builds(
    TaskRecord,
    org=st.just("acme"),
    task=st.just("fix"),
    run=RUNS,
    digest=DIGESTS,
    result=st.none() | RESULTS,
    message=st.text("ab", max_size=3),
    attempt=st.integers(0, 3),
    branch=st.none() | st.just("guildnet/acme/fix"),
    pull_request=st.none() | st.just({"url": "https://git.example/1", "number": 1}),
    uid=st.none() | st.just("u-1"),
    artifacts=st.sampled_from([(), ({"name": "x.json", "bytes": 1, "sha256": "ab"},)]),
)
REMOVED = st.builds(
    Removed,
    org=st.just("acme"),
    task=st.just("fix"),
    run=RUNS,
    digest=DIGESTS,
    result=st.none() | RESULTS,
)
LIVE = st.tuples(RUNS, DIGESTS)


def an_agent_task(number: int = 1, digest: str = "sha256:a", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "fix",
            "uid": "u-1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {labels.RUN_DIGEST: digest, labels.SOURCE_REVISION: "r"},
        },
        "spec": {"prompt": "x", "run": number},
        "status": status,
    }


def ended(run: int, reason: str = "TaskSucceeded", **more: Any) -> dict[str, Any]:
    listed = [
        {"type": "Succeeded", "status": "True", "reason": reason, "message": "because"},
        {"type": "Finished", "status": "True", "reason": reason, "message": ""},
    ]
    return an_agent_task(run, run=run, phase="Succeeded", conditions=listed, attempt=1, **more)


@given(RECORDS)
def test_a_record_is_read_back_as_it_was_written(written: TaskRecord) -> None:
    """I6: nothing of a record is lost on the status branch."""
    content = json.loads(readable_json(written.to_json()))
    assert TaskRecord.from_json(content) == written


@given(REMOVED)
def test_a_tombstone_is_read_back_as_it_was_written(written: Removed) -> None:
    assert Removed.from_json(json.loads(readable_json(written.to_json()))) == written


def test_an_orgs_record_is_read_back_and_leaves_out_what_is_empty() -> None:
    written = OrgRecord("acme", attempted="a", counts={"tasks": 1}, held=({"task": "x"},))
    content = json.loads(readable_json(written.to_json()))
    assert set(content) == {"apiVersion", "kind", "org", "attempted", "counts", "held"}
    assert OrgRecord.from_json(content) == written


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"org": "acme"},
        {"task": "x", "run": 1},
        *[
            {"org": "acme", "task": "fix", "run": 1, "digest": "sha256:a", **wrong}
            for wrong in ({"run": "1"}, {"run": True}, {"digest": 7}, {"result": ["x"]})
        ],
    ],
)
def test_content_that_is_not_a_record_is_refused(content: dict[str, Any]) -> None:
    """I1, I7: an unreadable record must never look like a task that has none."""
    with pytest.raises((TypeError, KeyError)):
        TaskRecord.from_json(content)
    with pytest.raises((TypeError, KeyError)):
        Removed.from_json(content)


@given(DIGESTS, st.none() | RECORDS, st.none() | REMOVED, st.none() | LIVE)
def test_the_number_of_a_run_never_falls(
    digest: str, kept: TaskRecord | None, removed: Removed | None, live: tuple[int, str] | None
) -> None:
    """I6: 1 + the highest known, or the highest itself for the same words."""
    known = [*([kept.run] if kept else []), *([removed.run] if removed else [])]
    known += [live[0]] if live else []
    found = wanted_run(digest, kept, removed, live)
    assert found.number in (max(known, default=0), max(known, default=0) + 1)
    if not known:
        assert (found.number, found.finished) == (1, False)


@given(DIGESTS, RECORDS, st.none() | REMOVED, st.none() | LIVE)
def test_a_finished_run_of_the_same_words_stays_finished(
    digest: str, kept: TaskRecord, removed: Removed | None, live: tuple[int, str] | None
) -> None:
    """I7: whatever else is known, the latest run's recorded end is not forgotten."""
    found = wanted_run(digest, kept, removed, live)
    latest = max([kept.run, removed.run if removed else 0, live[0] if live else 0])
    if kept.finished and kept.run == latest and kept.digest == digest:
        assert (found.number, found.finished) == (kept.run, True)
    if found.number > latest:
        assert not found.finished


def test_the_words_a_b_a_are_three_runs() -> None:
    first = wanted_run("a", None, None, None).number
    second = wanted_run("b", TaskRecord("o", "t", first, "a", "TaskSucceeded"), None, None)
    third = wanted_run("a", TaskRecord("o", "t", second.number, "b", "TaskSucceeded"), None, None)
    assert (first, second.number, third.number) == (1, 2, 3)
    assert not third.finished


@given(RECORDS)
def test_a_task_that_comes_back_unchanged_is_restored_as_it_left(before: TaskRecord) -> None:
    """I7: added again with the digest of a finished run, it does not run again."""
    removed = Removed.of(before)
    found = wanted_run(before.digest, None, removed, None)
    assert (found.number, found.finished) == (before.run, before.finished)
    back = record.restored(removed)
    assert (back.run, back.digest, back.result) == (before.run, before.digest, before.result)


def test_the_status_of_an_agent_task_is_recorded() -> None:
    pull_request = {"url": "https://git.example/1"}
    found = record_of(ended(1, pullRequest=pull_request, branch="b"), "acme", None)
    assert found is not None
    assert (found.result, found.message, found.phase) == ("TaskSucceeded", "because", "Succeeded")
    assert (found.pull_request, found.branch, found.uid) == (pull_request, "b", "u-1")
    assert (found.digest, found.source_revision) == ("sha256:a", "r")


def test_a_status_of_an_older_run_says_nothing_of_this_one() -> None:
    """Between a new spec and the operator's answer, the old run's end must not be taken."""
    stale = ended(1)
    stale["spec"]["run"] = 2
    found = record_of(stale, "acme", TaskRecord("acme", "fix", 1, "sha256:a", "TaskSucceeded"))
    assert found is not None
    assert (found.run, found.result, found.phase) == (2, None, "Pending")
    assert [entry["run"] for entry in found.history] == [1]


def test_a_finished_run_never_becomes_unfinished() -> None:
    """I7."""
    done = TaskRecord("acme", "fix", 2, "sha256:a", "TaskSucceeded", pull_request={"url": "u"})
    assert record_of(an_agent_task(2, run=2, phase="Running"), "acme", done) is None
    assert record_of(ended(1), "acme", done) is None
    later = record_of(ended(2, "TaskFailed"), "acme", done)
    assert later is not None
    assert (later.result, later.pull_request) == ("TaskSucceeded", {"url": "u"})


@given(st.lists(st.sampled_from(["TaskSucceeded", "TaskFailed"]), min_size=1, max_size=14))
def test_history_keeps_every_run_up_to_its_bound(results: list[str]) -> None:
    """I6: no result is lost or doubled; section 4: the last 10 runs."""
    kept: TaskRecord | None = None
    for number, result in enumerate(results, start=1):
        going = record_of(an_agent_task(number, run=number, phase="Running"), "acme", kept)
        assert going is not None
        kept = record_of(ended(number, result), "acme", going)
        assert kept is not None
    assert kept is not None
    earlier = list(enumerate(results, start=1))[:-1][-record.MAX_HISTORY :]
    assert [(e["run"], e["result"]) for e in kept.history] == earlier[::-1]


def test_a_run_that_nothing_finished_is_superseded_in_history() -> None:
    going = TaskRecord("acme", "fix", 1, "sha256:a", attempt=2)
    found = record_of(an_agent_task(2, "sha256:b"), "acme", going)
    assert found is not None
    assert found.history[0]["result"] == "Superseded"
    assert found.history[0]["attempts"] == 2
    assert record.superseded(going, "Cancelled").result == "Cancelled"
    done = TaskRecord("acme", "fix", 1, "sha256:a", "TaskFailed")
    assert record.superseded(done, "Cancelled") is done


def test_each_record_has_its_place() -> None:
    assert record.org_record_path("acme") == "orgs/acme/org.json"
    assert record.task_record_path("acme", "fix") == "orgs/acme/tasks/fix/status.json"
    assert record.artifact_path("acme", "fix", "last_pr.json") == (
        "orgs/acme/tasks/fix/artifacts/last_pr.json"
    )
    assert record.removed_path("acme", "fix") == "orgs/acme/removed/fix.json"
