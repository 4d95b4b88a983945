"""The state derived from a record, and the links of a record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_dashboard.links import commit_address, pull_request_link, web_address
from guildnet_dashboard.states import State, summary_of


def summary(**content: Any) -> Any:
    return summary_of(json.dumps(content).encode(), "blob")


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("content", "state", "reason"),
    [
        ({"result": "TaskSucceeded"}, State.SUCCEEDED, "TaskSucceeded"),
        ({"result": "RetriesExhausted"}, State.FAILED, "RetriesExhausted"),
        ({"result": "DeadlineExceeded"}, State.FAILED, "DeadlineExceeded"),
        ({"result": "BudgetExceeded"}, State.BUDGET_EXCEEDED, "BudgetExceeded"),
        ({"result": "Cancelled"}, State.CANCELLED, "Cancelled"),
        ({"conditions": [condition("Ready", "True", "AgentServing")]}, State.RUNNING, None),
        ({"conditions": [condition("Ready", "False", "Provisioning")]}, State.STARTING, None),
        ({"conditions": [condition("Scheduled", "False", "Queued")]}, State.QUEUED, "Queued"),
        ({"conditions": [condition("Accepted", "False", "InvalidSpec")]}, State.STALLED, None),
        ({"conditions": [condition("Stalled", "True", "CrashLooping")]}, State.STALLED, None),
        ({"conditions": [condition("Suspended", "True", "Suspended")]}, State.SUSPENDED, None),
        ({}, State.PENDING, ""),
    ],
)
def test_state_comes_from_result_then_conditions(
    content: dict[str, Any], state: State, reason: str | None
) -> None:
    """I10: each state has its reason; the field `phase`, meant for people, is not used."""
    found = summary(phase="Nonsense", **content)
    assert found.state is state
    if reason is not None:
        assert found.reason == reason


def test_a_result_overrides_earlier_conditions() -> None:
    """I7: a finished run stays finished."""
    found = summary(result="TaskSucceeded", conditions=[condition("Ready", "True", "AgentServing")])
    assert found.state is State.SUCCEEDED


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"text"', b"\xff", b"null"])
def test_malformed_data_is_unreadable(data: bytes) -> None:
    """I1, I10: an unreadable record is shown with its cause and not treated as missing."""
    found = summary_of(data, "blob")
    assert found.state is State.UNREADABLE
    assert found.message


_ODD: tuple[Any, ...] = (
    None,
    True,
    7,
    -1.5,
    "",
    "x",
    "\ud83d\ude00",
    [],
    {},
    [None],
    [{}],
    {"": 1},
)
_ODD += ([{"type": 1, "status": [], "lastTransitionTime": {}}], {"url": [], "number": "7"})
_JSON = st.sampled_from(_ODD)
_KEYS = ("result", "conditions", "run", "attempt", "pullRequest", "createdAt", "message")


@given(st.dictionaries(st.sampled_from(_KEYS), _JSON))
def test_no_record_raises(content: dict[str, Any]) -> None:
    """I3: one malformed record cannot break the pages of the others."""
    summary_of(json.dumps(content).encode(), "blob")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " https://git.example/1",
        "data:text/html,x",
        "//git.example/1",
        "https://",
        "https://user:secret@git.example/1",
        "https://git.example/\n1",
        "ftp://git.example/1",
        "https://[git.example/1",
        7,
        None,
    ],
)
def test_unsafe_urls_are_not_linked(url: object) -> None:
    """I8, I9: agents cannot make a page link to anything but an http or https URL."""
    assert web_address(url) is None


@pytest.mark.parametrize(
    ("provider", "url", "page"),
    [
        ("gitea", "https://f.example/a/b/pulls/7", "https://f.example/a/b/commit/"),
        ("github", "https://github.com/a/b/pull/7", "https://github.com/a/b/commit/"),
        ("gitlab", "https://f/a/b/c/-/merge_requests/7", "https://f/a/b/c/-/commit/"),
        ("bitbucket", "https://f/a/b/pull-requests/7", "https://f/a/b/commits/"),
    ],
)
def test_commit_url_is_derived_from_the_pull_request(provider: str, url: str, page: str) -> None:
    record = {"commit": "ab" * 20, "pullRequest": {"provider": provider, "url": url}}
    assert commit_address(record) == page + "ab" * 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"commit": "../../evil"},
        {"commit": ""},
        {"pullRequest": None},
        {"pullRequest": "https://f.example/a/b/pulls/7"},
        {"pullRequest": {"provider": "gitea", "url": "javascript:alert(1)/pulls/7"}},
        {"pullRequest": {"provider": "odd", "url": "https://f.example/a/b/pulls/7"}},
        {"pullRequest": {"provider": "gitea", "url": "https://f.example/a/b"}},
    ],
)
def test_no_commit_url_without_a_known_forge_url(wrong: dict[str, object]) -> None:
    """I9: without a forge's URL there is no link."""
    pull_request = {"provider": "gitea", "url": "https://f.example/a/b/pulls/7"}
    assert commit_address({"commit": "ab" * 20, "pullRequest": pull_request, **wrong}) is None


def test_a_pull_request_is_named_by_repository_and_number() -> None:
    link = pull_request_link(
        {"url": "https://git.example/a/b/pulls/7", "repository": "a/b", "number": 7}
    )
    assert link is not None
    assert (link.text, link.url) == ("a/b#7", "https://git.example/a/b/pulls/7")


def test_user_information_of_urls_is_masked() -> None:
    """I8: credentials in URLs do not reach a page."""
    shown = summary(
        result="TaskFailed", message="no https://bot:hunter2@git.example/x, a@b.example"
    )
    assert shown.message == "no https://***@git.example/x, a@b.example"
