"""Notices follow from a record before and after a change; delivery removes them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from guildnet.errors import ConfigurationError, InvalidResource
from guildnet.loading import load_org
from guildnet.notify.notices import (
    MAX_PENDING,
    Notice,
    pending_in,
    with_org_change,
    with_task_change,
    without_delivered,
)
from guildnet.notify.receivers import Receiver
from guildnet.notify.requests import request_for
from guildnet.record import OrgRecord, TaskRecord
from guildnet.resources import Source

OPS = Receiver("ops", "webhook", "key", url="https://hooks.example/in")
CHAT = Receiver("chat", "slack", "url", on=("Held",))
BOTH = (OPS, CHAT)
UP, DOWN = {"reachable": True}, {"reachable": False, "message": "no route to host"}


def org(**fields: object) -> OrgRecord:
    return replace(OrgRecord("acme", cluster=UP), **fields)  # type: ignore[arg-type]


def task(result: str | None, run: int = 1) -> TaskRecord:
    return TaskRecord("acme", "fix", run, "sha256:x", result=result, message="tests failed")


def events(record: OrgRecord) -> list[tuple[str, tuple[str, ...]]]:
    return [(notice.event, notice.to) for notice in pending_in(record)]


def held(*tasks: str) -> tuple[dict[str, str], ...]:
    return tuple({"task": t, "reason": "TooManyDeletions", "message": "approve"} for t in tasks)


@pytest.mark.parametrize(
    ("result", "event"),
    [
        ("TaskFailed", "Failed"),
        ("DeadlineExceeded", "Failed"),
        ("RetriesExhausted", "Failed"),
        ("BudgetExceeded", "BudgetExceeded"),
    ],
)
def test_a_failed_run_is_notified_once(result: str, event: str) -> None:
    first = with_task_change(org(), task(None), task(result), BOTH)
    assert events(first) == [(event, ("ops",))]
    assert with_task_change(first, task(result), task(result), BOTH) == first
    again = with_task_change(first, task(result), task(result, run=2), BOTH)
    assert len({notice.id for notice in pending_in(again)}) == 2


@pytest.mark.parametrize("result", [None, "TaskSucceeded", "Cancelled"])
def test_other_ends_are_not_notified(result: str | None) -> None:
    assert with_task_change(org(), task(None), task(result), BOTH) == org()


def test_an_outage_is_notified_when_it_begins_and_when_it_ends() -> None:
    down = with_org_change(org(), org(cluster=DOWN), BOTH)
    assert events(down) == [("ClusterUnreachable", ("ops",))]
    [notice] = pending_in(down)
    told = without_delivered(down, notice.id, "ops")
    assert with_org_change(told, org(cluster=DOWN), BOTH) == told
    up = with_org_change(told, org(), BOTH)
    [over] = pending_in(up)
    assert (over.event, over.resolved) == ("ClusterUnreachable", True)
    [second] = pending_in(with_org_change(org(incidents=up.incidents), org(cluster=DOWN), BOTH))
    assert second.id != notice.id


def test_an_outage_that_was_not_notified_does_not_end_with_a_notice() -> None:
    assert events(with_org_change(org(cluster=DOWN), org(), BOTH)) == []


def test_only_new_holds_are_notified_and_together() -> None:
    first = with_org_change(org(), org(held=held("a")), BOTH)
    assert events(first) == [("Held", ("ops", "chat"))]
    more = with_org_change(first, org(held=held("a", *map(str, range(9)))), BOTH)
    assert [n.message.partition(":")[0] for n in pending_in(more)] == ["a", "9 changes are held"]
    assert with_org_change(more, org(held=held("a")), BOTH).notices == more.notices


def test_each_receiver_is_removed_when_it_has_accepted() -> None:
    record = with_org_change(org(), org(held=held("a")), BOTH)
    [notice] = pending_in(record)
    record = without_delivered(record, notice.id, "ops")
    assert events(record) == [("Held", ("chat",))]
    assert not without_delivered(record, notice.id, "chat").notices


def test_a_receiver_that_left_the_file_is_no_longer_waited_for() -> None:
    record = with_org_change(org(), org(held=held("a")), BOTH)
    assert events(with_org_change(record, org(held=held("a")), (OPS,))) == [("Held", ("ops",))]


def test_an_org_without_receivers_keeps_its_record() -> None:
    after = org(cluster=DOWN, held=held("a"))
    assert with_org_change(org(), after, ()) == after


def test_many_failures_are_counted_in_one_last_notice() -> None:
    record = org()
    for run in range(1, MAX_PENDING + 11):
        record = with_task_change(record, None, task("TaskFailed", run), BOTH)
    pending = list(pending_in(record))
    assert len(pending) == MAX_PENDING
    assert pending[-1].message.startswith("11 more notifications were not sent")


def test_the_record_is_read_back_as_it_was_written() -> None:
    record = with_org_change(org(), org(cluster=DOWN, held=held("a")), BOTH)
    read = OrgRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert list(pending_in(read)) == list(pending_in(record))
    assert read.incidents == record.incidents


@pytest.mark.parametrize(
    "entry", ["x", {}, {"id": 1, "to": []}, {"to": [1]}, {"to": [], "run": ""}]
)
def test_entries_that_are_not_notices_are_left_out(entry: object) -> None:
    assert not [n for n in pending_in(org(notices=(entry,))) if n.to]


# --- what is sent -----------------------------------------------------------------------------

NOTICE = Notice("abc", "Failed", "<!channel> & more\nlines", task="fix", run=2)


def test_slack_text_mentions_nobody() -> None:
    sent = request_for("acme", CHAT, NOTICE, "https://chat.example/T/B/x")
    assert json.loads(sent.body) == {
        "text": "GuildNet acme/fix (run 2): Failed: &lt;!channel&gt; &amp; more lines"
    }


def test_matrix_is_sent_under_the_notices_id() -> None:
    room = Receiver("m", "matrix", "token", url="https://matrix.example/", room="!a:b.example")
    sent = request_for("acme", room, NOTICE, "syt_token")
    assert sent.method == "PUT"
    assert sent.url == (
        "https://matrix.example/_matrix/client/v3/rooms/%21a%3Ab.example/send/m.room.message/abc"
    )
    assert sent.headers["Authorization"] == "Bearer syt_token"
    assert "syt_token" not in repr(sent)


@pytest.mark.parametrize("secret", ["", "two\nlines", "é"])
def test_a_secret_that_cannot_be_used_is_refused(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="not one ASCII line"):
        request_for("acme", OPS, NOTICE, secret)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("type: webhook", "url is missing"),
        ("type: webhook, url: http://a.example/", "write an https URL"),
        ("type: webhook, url: https://127.0.0.1/", "is loopback"),
        ("type: webhook, url: https://169.254.169.254/", "is link-local"),
        ("type: webhook, url: https://a.localhost/", "is loopback"),
        ("type: webhook, url: ssh://a.example/", "write an https URL"),
        ("type: slack, url: https://a.example/", "store it as the secret"),
        ("type: matrix, url: https://a.example/", "room is missing"),
        ("type: webhook, url: https://a.example/, on: [Succeeded]", "Succeeded"),
        ("type: email", "email"),
    ],
)
def test_receivers_that_cannot_work_are_refused_with_their_line(entry: str, problem: str) -> None:
    with pytest.raises(InvalidResource, match=problem) as raised:
        load_org(org_file(f"{{name: ops, secret: key, {entry}}}"), Source("orgs/acme.yaml"))
    assert ":7:" in str(raised.value)


def test_two_receivers_of_one_name_are_refused() -> None:
    entry = "{name: ops, secret: key, type: slack}"
    with pytest.raises(InvalidResource, match="a second receiver named 'ops'"):
        load_org(org_file(entry, entry), Source("orgs/acme.yaml"))


def org_file(*entries: str) -> bytes:
    lines = "".join(f"  - {entry}\n" for entry in entries)
    return (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\nspec:\n"
        "  cluster: {kubeconfig: acme, namespace: agents}\n  notify:\n" + lines
    ).encode()
