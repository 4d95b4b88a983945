"""I3, I9: whatever a cluster reports of an AgentTask, what is recorded of it is small and plain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet import labels
from guildnet.agent_api.artifacts import is_artifact_name
from guildnet.digest import readable_json
from guildnet.names import is_name, is_object_name
from guildnet.record import artifact_path, is_deeper, parse_status_path, record_of, reported
from guildnet_reconciler.steps.observe import observe

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
STATUS_FIELDS = (
    *("phase", "run", "attempt", "start", "finishedAt", "branch", "pullRequest", "lastRun"),
    *("artifacts", "artifactsConfigMap", "logTail", "editor", "conditions", "history", "pod"),
)
META_FIELDS = (
    *("name", "uid", "resourceVersion", "labels", "annotations", "finalizers"),
    *("managedFields", "deletionTimestamp"),
)
SPEC_FIELDS = ("run", "dependsOn", "continues", "ttlAfterFinished", "prompt")


def an_agent_task(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "fix",
            "uid": "u-1",
            "resourceVersion": "7",
            "annotations": {labels.RUN_DIGEST: "sha256:a"},
        },
        "spec": {"run": 1},
        "status": {"run": 1, **status},
    }


def some(fields: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(list(fields)), ANYTHING, max_size=4)


def test_a_peer_on_the_mesh_is_bounded() -> None:
    peer = {"name": "n" * 999, "id": 7, "addresses": ["100.64.0.7", 5, "x" * 99, *"abcdefgh"]}
    kept, _ = reported(an_agent_task(editor={"port": 8443, "mesh": {**peer, "more": "x"}}))
    assert kept["status"]["editor"] == {
        "port": 8443,
        "mesh": {"name": "n" * 253, "addresses": ["100.64.0.7", "a", "b", "c"]},
    }


@given(some(META_FIELDS), some(SPEC_FIELDS), some(STATUS_FIELDS))
def test_any_object_is_refused_or_understood(
    meta: dict[str, Any], spec: dict[str, Any], status: dict[str, Any]
) -> None:
    good = an_agent_task()
    obj = {
        "metadata": {**good["metadata"], **meta},
        "spec": {**good["spec"], **spec},
        "status": {**good["status"], **status},
    }
    try:
        kept, _ = reported(obj)
        task = observe(kept, "acme")
    except ValueError:
        return
    assert is_name(task.name)
    assert all(map(is_name, task.depends_on))
    try:
        record = record_of(kept, "acme", None)
    except (KeyError, TypeError, ValueError):
        return  # our annotation or its run was changed
    assert record is not None
    assert len(readable_json(record.to_json())) < 200_000
    for artifact in record.artifacts:
        assert parse_status_path(artifact_path("acme", record.task, artifact["name"]))


@pytest.mark.parametrize(
    "name",
    [
        "../../globex/tasks/t1",
        "..",
        ".git",
        ".GIT",
        "a\0b",
        "a\nb",
        "x" * 51,
        "x" * 5000,
        "",
        "A",
        "a/b",
        "a.b",
        "a-",
        "-a",
        "a\ud800",
        "ａ",
        7,
        None,
        ["a"],
    ],
)
def test_such_a_name_is_refused(name: object) -> None:
    obj = an_agent_task()
    obj["metadata"]["name"] = name
    with pytest.raises(ValueError, match="DNS label"):
        reported(obj)


@pytest.mark.parametrize(
    "name",
    [
        "../../../../globex/x",
        "..json",
        ".git",
        "a\0.json",
        "a\n.json",
        "A.json",
        "x" * 51 + ".json",
    ],
)
def test_such_an_artifact_is_dropped_and_named_as_a_problem(name: str) -> None:
    good = {"name": "usage.json", "bytes": 1, "sha256": "ab"}
    kept, problems = reported(an_agent_task(artifacts=[{**good, "name": name}, good]))
    assert kept["status"]["artifacts"] == [good]
    assert len(problems) == 1
    assert not is_artifact_name(name)


def test_texts_and_lists_are_cut_to_the_schema() -> None:
    condition = {"type": "Ready", "status": "True", "reason": "r" * 10**6, "message": "m" * 10**6}
    kept, _ = reported(
        an_agent_task(conditions=[condition] * 1000, phase="p" * 10**7, node="n" * 10**7)
    )
    record = record_of(kept, "acme", None)
    assert record is not None
    assert len(record.conditions) == 16
    assert len(readable_json(record.to_json())) < 200_000


def test_a_document_nested_hundreds_deep_is_dropped_and_named() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"a": [deep]}
    kept, problems = reported(an_agent_task(lastRun={"x": deep}))
    assert "lastRun" not in kept["status"]
    assert problems == ["status.lastRun is too large or nested too deeply"]
    wide = {"x": "y" * 10**6}
    assert "lastRun" not in reported(an_agent_task(lastRun=wide))[0]["status"]


def test_depth_is_counted_in_levels() -> None:
    assert not is_deeper(json.loads("[[1]]"), 1)
    assert is_deeper(json.loads("[[1]]"), 0)


def test_names_of_objects() -> None:
    assert is_object_name("fix.artifacts-1")
    assert not any(map(is_object_name, ("", "..", "a/b", "a%2fb", "A", "x" * 254, 3)))
