"""The patch between two statuses contains only what differs."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guildnet_operator.act import status_patch
from guildnet_operator.decisions.events import transitions

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
