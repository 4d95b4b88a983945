"""I3, I9: every page renders, whatever JSON is on the status branch."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guildnet_dashboard.json_values import condition_list, mappings
from guildnet_dashboard.org_report import report_of
from guildnet_dashboard.rendering import Renderer
from guildnet_dashboard.snapshot import Snapshot, StatusChange, problems_of
from guildnet_dashboard.stages import stages
from guildnet_dashboard.states import State, summary_of
from guildnet_dashboard.task_detail import ShownArtifact, TaskDetail, read_object
from guildnet_dashboard.task_list import TaskQuery, select_page
from guildnet_dashboard.timeline import TimelineEntry, changes_between
from guildnet_dashboard.viewer import Viewer

TEXTS = st.sampled_from(
    ["", "True", "False", "Ready", "Stalled", "Succeeded", "x", "\ud800", "<b>"]
)
TIMES = st.sampled_from(["2026-01-01T00:00:00Z", "soon", "", "0001-01-01T00:00:00+14:00"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | TIMES | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["Ready", "Stalled", "Published", "Suspended"]) | ANY,
            "status": st.sampled_from(["True", "False", "Unknown"]) | ANY,
            "reason": TEXTS | ANY,
            "message": TEXTS | ANY,
            "lastTransitionTime": TIMES | ANY,
        },
    )
    | ANY,
    max_size=3,
)
PULL_REQUESTS = st.dictionaries(
    st.sampled_from(["url", "provider", "repository", "number", "state", "createdAt", "title"]),
    st.sampled_from(["https://f.example/a/b/pulls/1", "gitea", 1]) | ANY,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "run": st.integers() | ANY,
        "attempt": st.integers() | ANY,
        "start": st.integers() | ANY,
        "result": TEXTS | ANY,
        "message": TEXTS | ANY,
        "createdAt": TIMES | ANY,
        "startedAt": TIMES | ANY,
        "finishedAt": TIMES | ANY,
        "commit": st.just("ab" * 20) | ANY,
        "branch": ANY,
        "pod": ANY,
        "editor": ANY,
        "conditions": CONDITIONS | ANY,
        "pullRequest": PULL_REQUESTS | ANY,
        "history": st.lists(st.dictionaries(TEXTS, ANY, max_size=2) | ANY, max_size=2) | ANY,
        "artifacts": ANY,
    },
)
REPORTS = st.fixed_dictionaries(
    {},
    optional={
        name: st.dictionaries(st.sampled_from(["reachable", "message", "line", "path"]), ANY)
        | st.lists(st.dictionaries(st.sampled_from(["path", "line", "task", "reason"]), ANY))
        | ANY
        for name in ("cluster", "location", "quarantined", "held", "faults", "attempted")
    },
)
RENDERER = Renderer()


def frame(**values: Any) -> dict[str, Any]:
    health = {"fault": "", "cure": ""}
    common = {
        "at": None,
        "health": health,
        "revision": "r",
        "shown_commit": None,
        "repository": "p",
        "viewer": Viewer(),
    }
    return {**common, "problem_count": 0, "live": "*", **values}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(RECORDS, RECORDS, REPORTS)
def test_every_page_renders_for_any_record(before: Any, after: Any, org: Any) -> None:
    data = json.dumps(after).encode()
    report = report_of(json.dumps(org).encode(), "acme")
    changes = [
        StatusChange("acme", "fix", record=summary_of(data, "blob")),
        StatusChange("acme", None, report=report),
    ]
    snapshot = Snapshot().with_changes(status="s", source="", reported=changes, committed=())
    view = snapshot.orgs["acme"]
    record, older = read_object(data), read_object(json.dumps(before).encode())
    when = datetime(2026, 1, 1, tzinfo=UTC)
    detail = TaskDetail(view.tasks["fix"], record, artifacts=(ShownArtifact("x", 1, "", None),))
    task = {
        "detail": detail,
        "row": detail.row,
        "record": record,
        "stages": stages(record),
        "conditions": condition_list(record),
        "runs": mappings(record.get("history")),
        "timeline": (TimelineEntry("c", when, "s", 1, changes_between(older, record)),),
    }
    page = select_page(view, TaskQuery())
    org_values = {"org": view, "query": TaskQuery(), "page": page, "states": [*view.counts]}
    found = problems_of(view)
    overview = {"orgs": [view], "counts": dict.fromkeys(State, 1)}
    overview |= dict.fromkeys(("active", "invalid", "finished"), page.rows)
    for template, values in (
        ("task.html", task),
        ("org.html", {**org_values, "problems": found}),
        ("problems.html", {"problems": found}),
        ("overview.html", {**overview, "problems": {"acme": found}}),
    ):
        shown = RENDERER.page(template, frame(snapshot=snapshot, **values))
        assert shown.endswith(b"</html>")
        assert b"<b></b>" not in shown
