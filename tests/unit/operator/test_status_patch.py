"""What is written of a status: only what differs, and only once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guildnet_operator.act import Actor, status_patch
from guildnet_operator.decisions.events import transitions
from guildnet_operator.views import TaskView

values = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
statuses = st.dictionaries(st.sampled_from("abcde"), values, max_size=5)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386"""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@settings(deadline=None)
@given(statuses, statuses)
def test_merging_the_patch_gives_the_status(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert merged(before, status_patch(before, after)) == after


@settings(deadline=None)
@given(statuses)
def test_an_equal_status_gives_an_empty_patch(status: dict[str, Any]) -> None:
    """I4"""
    assert status_patch(status, dict(status)) == {}


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": "m"}


def test_each_transition_has_one_event() -> None:
    before = {"conditions": [condition("Ready", "False", "Provisioning")]}
    after = {
        "run": 1,
        "attempt": 1,
        "start": 1,
        "pod": "p",
        "conditions": [
            condition("Ready", "False", "ImagePullFailed"),
            condition("Succeeded", "Unknown", "Pending"),
        ],
    }
    events = list(transitions(before, after))
    assert [(t.reason, t.warning) for t in events] == [
        ("Starting", False),
        ("ImagePullFailed", True),
    ]
    assert list(transitions(after, after)) == []


@pytest.mark.parametrize(("version", "changed"), [("7", False), ("8", True)])
async def test_a_status_that_the_server_did_not_change_is_not_written_again(
    version: str, changed: bool
) -> None:
    """The CRD of an older release drops the fields that it does not know."""
    cache, client, metrics = Mock(), Mock(), Mock()
    client.patch = AsyncMock(return_value={"metadata": {"resourceVersion": version}})
    actor = Actor(client, cache, Mock(), Mock(), metrics)
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    task = TaskView("fix", "agents", "u", 1, "7", now, "acme", {}, {"run": 1})
    assert await actor.write_status(task, {"run": 1, "later": 1}, now) is changed
    assert cache.wrote_task.called is changed
