"""Org defaults under a task: the task wins, nothing is lost, inputs stay as they are."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet import labels, schema
from guildnet.agent_rules import MAX_ENV, agent_problems
from guildnet.errors import InvalidResource
from guildnet.merge import (
    DEFAULTS,
    RunRef,
    agent_task,
    agent_task_spec,
    merge_agent,
    spec_digest,
)
from guildnet.resources import ClusterRef, Org, Source, Task

ENV = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("ABC"), "value": st.text("xy", max_size=2)}),
    max_size=3,
    unique_by=lambda entry: entry["name"],
)
AGENTS = st.fixed_dictionaries(
    {},
    optional={
        "image": st.sampled_from(["one", "two"]),
        "command": st.lists(st.sampled_from(["sh", "-c"]), min_size=1, max_size=3),
        "env": ENV,
        "resources": st.fixed_dictionaries(
            {},
            optional={
                part: st.dictionaries(st.sampled_from(["cpu", "memory"]), st.just("1"))
                for part in ("requests", "limits")
            },
        ),
        "nodeSelector": st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")),
        "workspace": st.fixed_dictionaries({}, optional={"size": st.sampled_from(["1Gi", "2Gi"])}),
    },
)


def an_org(agent: dict[str, Any] | None = None) -> Org:
    spec = {"cluster": {"kubeconfig": "acme", "namespace": "agents"}, "agent": agent or {}}
    return Org("acme", ClusterRef("acme", "agents"), spec, Source("orgs/acme.yaml"))


def a_task(**spec: Any) -> Task:
    source = Source("tasks/acme/fix.yaml", "blob", "revision")
    return Task("acme", "fix", {"prompt": "Do it.", **spec}, source, {"team": "web"})


@given(AGENTS, AGENTS)
def test_what_the_task_says_holds(defaults: dict[str, Any], own: dict[str, Any]) -> None:
    result = merge_agent(defaults, own)
    assert set(result) == {*defaults, *own}
    for key in set(own) - {"env", "resources", "nodeSelector", "workspace"}:
        assert result[key] == own[key]
    for key in set(defaults) - set(own):
        assert result[key] == defaults[key]


@given(AGENTS, AGENTS)
def test_environment_merges_by_name(defaults: dict[str, Any], own: dict[str, Any]) -> None:
    def as_map(agent: dict[str, Any]) -> dict[str, str]:
        return {entry["name"]: entry["value"] for entry in agent.get("env", [])}

    result = merge_agent(defaults, own)
    assert as_map(result) == as_map(defaults) | as_map(own)
    assert len(result.get("env", [])) == len(as_map(result))


@given(AGENTS, AGENTS)
def test_inputs_stay_and_merging_again_changes_nothing(
    defaults: dict[str, Any], own: dict[str, Any]
) -> None:
    before = copy.deepcopy((defaults, own))
    result = merge_agent(defaults, own)
    assert (defaults, own) == before
    assert merge_agent(defaults, result) == result
    assert merge_agent({}, own) == own
    assert merge_agent(defaults, {}) == defaults


@given(AGENTS, AGENTS)
def test_a_merged_spec_is_a_valid_spec(defaults: dict[str, Any], own: dict[str, Any]) -> None:
    """What the reconciler writes is what the AgentTask's schema takes."""
    command = {"command": ["sh"], **own}
    spec = agent_task_spec(an_org(defaults), a_task(agent=command), RunRef(3, "branch"))
    jsonschema.Draft202012Validator(schema.agent_task_spec_schema()).validate(spec)
    assert spec["run"] == 3
    assert spec["continues"] == "branch"


def test_product_defaults_stand_under_both() -> None:
    spec = agent_task_spec(
        an_org({"command": ["sh"]}), a_task(editor={"enabled": False}, timeout="1m"), RunRef(1)
    )
    assert spec["agent"] == {"preset": "shell", "command": ["sh"]}
    assert spec["editor"] == {"enabled": False, "afterFinished": "1h"}
    assert spec["timeout"] == "1m"
    assert spec["retries"] == DEFAULTS["retries"]
    assert "continues" not in spec
    assert "dependenciesSucceeded" not in spec


def test_dependencies_carry_whether_they_succeeded() -> None:
    org = an_org({"command": ["sh"]})
    for succeeded in (True, False):
        run = RunRef(1, dependencies_succeeded=succeeded)
        spec = agent_task_spec(org, a_task(dependsOn=["x"]), run)
        assert spec["dependenciesSucceeded"] is succeeded


def test_a_missing_command_is_reported_for_the_file() -> None:
    """I10."""
    with pytest.raises(InvalidResource, match=r"tasks/acme/fix.yaml: spec.agent: no command"):
        agent_task_spec(an_org(), a_task(), RunRef(1))


def test_too_many_environment_variables_are_reported_for_the_file() -> None:
    """I10: each file is within bounds, and only both together are not; the API server's refusal
    would name neither."""
    agent = schema.agent_task_spec_schema()["properties"]["agent"]
    assert agent["properties"]["env"]["maxItems"] == MAX_ENV
    org = an_org({"command": ["sh"], "env": [{"name": f"A{n}", "value": "x"} for n in range(40)]})
    own = [{"name": f"A{n}", "value": "y"} for n in range(20, 64)]
    assert len(agent_task_spec(org, a_task(agent={"env": own}), RunRef(1))["agent"]["env"]) == 64
    own.append({"name": "A64", "value": "y"})
    with pytest.raises(
        InvalidResource, match=r"fix.yaml: spec.agent.env: 65 entries .* at most 64"
    ):
        agent_task_spec(org, a_task(agent={"env": own}), RunRef(1))


def test_the_object_says_whose_it_is_and_where_it_came_from() -> None:
    """I2: owner labels; section 5: source and digests."""
    org, task = an_org({"command": ["sh"]}), a_task()
    found = agent_task(org, task, RunRef(1))
    meta = found["metadata"]
    assert meta["labels"] == {
        "team": "web",
        labels.MANAGED_BY: labels.RECONCILER,
        labels.ORG: "acme",
    }
    assert (meta["namespace"], meta["name"]) == ("agents", "fix")
    assert meta["finalizers"] == [labels.RECORDED_FINALIZER]
    annotations = meta["annotations"]
    assert annotations[labels.SOURCE_PATH] == "tasks/acme/fix.yaml"
    assert annotations[labels.SOURCE_BLOB] == "blob"
    assert annotations[labels.RUN_DIGEST] == task.run_digest
    assert annotations[labels.SPEC_DIGEST] == spec_digest(found["spec"], meta["labels"])


def test_a_task_cannot_take_our_labels() -> None:
    """I2."""
    stolen = Task("acme", "fix", {"prompt": "x"}, Source("p"), {labels.ORG: "globex"})
    found = agent_task(an_org({"command": ["sh"]}), stolen, RunRef(1))
    assert found["metadata"]["labels"][labels.ORG] == "acme"


def test_only_the_agents_words_start_a_run() -> None:
    """Section 3: the run digest is of the task's own words, before defaults."""
    base = a_task(agent={"command": ["sh"]})
    assert base.run_digest == a_task(agent={"command": ["sh"]}, timeout="9h").run_digest
    assert base.run_digest == a_task(agent={"command": ["sh"]}, suspend=True).run_digest
    changes: list[dict[str, Any]] = [
        *(
            {"prompt": "Else."},
            {"rerun": "1"},
            {"context": []},
            {"agent": {}},
            {"verify": {"command": ["make"]}},
        )
    ]
    for change in changes:
        assert base.run_digest != a_task(**{"agent": {"command": ["sh"]}, **change}).run_digest


@pytest.mark.parametrize(
    ("requests", "limits", "words"),
    [
        ({"memory": "2Gi"}, {"memory": "1Gi"}, ["2Gi memory", "the limit of 1Gi"]),
        ({"cpu": "600m"}, {"cpu": "0.5"}, ["600m cpu", "0.5"]),
        ({"memory": "1025Mi", "cpu": "1"}, {"memory": "1Gi", "cpu": "1"}, ["1025Mi memory"]),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, []),
        ({"memory": "9Gi"}, {"cpu": "1"}, []),
    ],
)
def test_a_request_above_its_limit_is_a_problem(
    requests: dict[str, str], limits: dict[str, str], words: list[str]
) -> None:
    """Whoever of the two wrote the limit: no API server accepts the pod."""
    settings = {"command": ["x"], "resources": {"requests": requests, "limits": limits}}
    found = list(agent_problems(settings, "hi"))
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


@pytest.mark.parametrize(
    ("prompt", "command", "is_good"),
    [
        ("\u4fee" * 45_000, ["sh", "-c", "x", "{prompt}"], False),
        ("\u4fee" * 45_000, ["sh", "-c", "cat $GUILDNET_PROMPT_FILE"], True),
        ("\u4fee" * 43_690, ["sh", "{prompt}"], True),
        ("a" * 131_071, ["sh", "{prompt}"], True),
        ("a" * 131_072, ["sh", "{prompt}"], False),
    ],
)
def test_a_prompt_fits_into_the_argument_that_takes_it(
    prompt: str, command: list[str], *, is_good: bool
) -> None:
    found = list(agent_problems({"command": command}, prompt))
    assert len(found) == (not is_good)
    assert all("GUILDNET_PROMPT_FILE" in problem for problem in found)
