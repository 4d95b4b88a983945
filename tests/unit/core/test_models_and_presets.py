"""An org's models and its tasks: defaults, mismatches, and where each mismatch is reported."""

from __future__ import annotations

from typing import Any

import pytest

from guildnet.errors import InvalidResource
from guildnet.loading import load_org, load_task
from guildnet.merge import RunRef, agent_task_spec
from guildnet.model_rules import PRESET_PROTOCOLS, PROTOCOLS
from guildnet.resources import ClusterRef, Org, Source, Task
from guildnet_agent.presets.registry import PRESETS
from guildnet_agent.supervisor.model_gateway import protocols

MODELS: dict[str, Any] = {
    "main": {
        "protocol": ["openai-chat", "openai-responses"],
        "baseURL": "https://model.example/v1",
        "secret": "model-key",
        "names": ["small", "large"],
        "prices": {"large": {"input": 1, "output": 2}},
    },
    "other": {
        "protocol": "anthropic",
        "baseURL": "https://other.example",
        "secret": "other-key",
        "names": ["writer"],
    },
}


def merged(
    own: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
    models: dict[str, Any] = MODELS,
) -> dict[str, Any]:
    spec = {
        "cluster": {"kubeconfig": "acme", "namespace": "agents"},
        "agent": defaults or {},
        "models": models,
    }
    org = Org("acme", ClusterRef("acme", "agents"), spec, Source("orgs/acme.yaml"))
    task = Task("acme", "fix", {"prompt": "x", "agent": own or {}}, Source("tasks/acme/fix.yaml"))
    agent: dict[str, Any] = agent_task_spec(org, task, RunRef(1))["agent"]
    return agent


def refusal(*given: Any) -> str:
    with pytest.raises(InvalidResource) as caught:
        merged(*given)
    (problem,) = caught.value.problems
    assert problem.path == "tasks/acme/fix.yaml"
    return problem.message


def test_the_agent_knows_the_presets_and_protocols_that_people_can_write() -> None:
    known = {name: preset.protocols for name, preset in PRESETS.items()}
    assert dict(PRESET_PROTOCOLS) == known
    assert tuple(protocols.PROTOCOLS) == PROTOCOLS


def test_a_preset_uses_the_first_model_and_its_first_name() -> None:
    assert merged({"preset": "codex"})["model"] == {"use": "main", "name": "small"}
    chosen = merged({"preset": "codex", "model": {"name": "large"}})
    assert chosen["model"] == {"use": "main", "name": "large"}
    other = merged({"preset": "claude-code", "model": {"use": "other"}})
    assert other["model"] == {"use": "other", "name": "writer"}


def test_a_task_may_use_another_model_than_the_orgs_default() -> None:
    defaults = {"preset": "pi", "model": {"use": "main", "name": "large"}}
    assert merged({}, defaults)["model"] == {"use": "main", "name": "large"}
    assert merged({"model": {"use": "other"}}, defaults)["model"] == {
        "use": "other",
        "name": "writer",
    }
    assert merged({"model": {"use": "main"}}, defaults)["model"]["name"] == "large"


def test_a_command_of_ones_own_has_a_model_only_where_it_asks_for_one() -> None:
    assert "model" not in merged({"command": ["true"]})
    asked = merged({"command": ["true"], "model": {}})
    assert asked["model"] == {"use": "main", "name": "small"}


def test_the_orgs_command_and_budget_do_not_reach_where_they_mean_nothing() -> None:
    defaults = {"command": ["true"], "budget": {"requests": 5}}
    assert "command" not in merged({"preset": "codex"}, defaults)
    assert merged({"preset": "codex"}, defaults)["budget"] == {"requests": 5}
    assert "budget" not in merged({}, defaults)


def test_a_budget_is_written_as_an_api_server_writes_it() -> None:
    """I4: 3.0 in the file would differ from what the cluster gives back, in every pass."""
    budget = merged({"preset": "pi", "model": {"name": "large"}, "budget": {"usd": 3.0}})["budget"]
    assert repr(budget["usd"]) == "3"


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"preset": "codex", "command": ["true"]}, "preset codex runs its own program"),
        ({"preset": "codex", "model": {"use": "gone"}}, "'gone' is not a model of the org"),
        ({"preset": "codex", "model": {"use": "other"}}, "codex speaks openai-responses, and mod"),
        ({"preset": "claude-code"}, "speaks openai-chat or openai-responses"),
        ({"preset": "pi", "model": {"name": "huge"}}, "it has: small, large"),
        ({"command": ["true"], "budget": {"requests": 1}}, "nothing is counted; name a model"),
        ({"preset": "pi", "budget": {"usd": 1}}, "small has no price"),
    ],
)
def test_what_does_not_fit_is_refused(own: dict[str, Any], message: str) -> None:
    assert message in refusal(own)


def test_a_preset_without_any_model_is_refused() -> None:
    assert "add one to spec.models in the org's file" in refusal({"preset": "pi"}, {}, {})
    assert "the org has no model" in refusal({"command": ["true"], "model": {}}, {}, {})


ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
  agent:
    preset: pi
    model: {use: MAIN, name: NAME}
  models:
    main:
      protocol: PROTOCOL
      baseURL: ENDPOINT
      secret: model-key
      names: NAMES
      prices: {PRICED: {input: 1, cachedInput: 0.1, cacheWrite: 1.25, output: 5}}
"""
GOOD = {
    "NAMES": "[small]",
    "MAIN": "main",
    "NAME": "small",
    "PROTOCOL": "anthropic",
    "ENDPOINT": "https://model.example",
    "PRICED": "small",
}


def an_org_text(**changes: str) -> str:
    text = ORG
    for word, value in {**GOOD, **changes}.items():
        text = text.replace(word, value)
    return text


def an_org(**changes: str) -> Org:
    return load_org(an_org_text(**changes).encode(), Source("orgs/acme.yaml"))


def test_an_orgs_models_keep_the_order_of_the_file() -> None:
    assert list(an_org().models) == ["main"]
    assert an_org(PROTOCOL="[anthropic, gemini]").models["main"]["protocol"] == [
        "anthropic",
        "gemini",
    ]


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"PROTOCOL": "smoke"}, 11, "'smoke' is not a protocol (anthropic, openai-chat, openai-r"),
        ({"PROTOCOL": "[]"}, 11, "is not a protocol"),
        ({"PROTOCOL": "[anthropic, anthropic]"}, 11, "is not a protocol"),
        ({"ENDPOINT": "https://user:pw@model.example"}, 12, "baseURL"),
        ({"MAIN": "gone"}, 8, "'gone' is not one of the org's models; it has: main"),
        ({"NAME": "large"}, 8, "'large' is not offered by main: small"),
        ({"PRICED": "large"}, 15, "'large' is not one of its names: small"),
    ],
)
def test_a_fault_in_an_orgs_models_is_named_with_its_line(
    changes: dict[str, str], line: int, message: str
) -> None:
    with pytest.raises(InvalidResource) as caught:
        an_org(**changes)
    problem = caught.value.problems[0]
    assert problem.line == line
    assert message in problem.message
    assert "pw" not in problem.message


def test_a_daily_budget_in_usd_needs_the_price_of_every_model() -> None:
    budget = "  limits: {budget: {usdPerDay: 5, tokensPerDay: 1000}}\n"
    load_org((an_org_text() + budget).encode(), Source("orgs/acme.yaml"))
    with pytest.raises(InvalidResource) as caught:
        load_org((an_org_text(NAMES="[small, large]") + budget).encode(), Source("orgs/acme.yaml"))
    assert "has no price for large, so what it costs is not counted" in str(caught.value)


def test_an_unknown_preset_lists_the_known_ones() -> None:
    text = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: fix}\nspec:\n"
    text += "  prompt: x\n  agent: {preset: wizard}\n"
    with pytest.raises(InvalidResource) as caught:
        load_task(text.encode(), Source("tasks/acme/fix.yaml"))
    (problem,) = caught.value.problems
    assert problem.line == 6
    for name in PRESET_PROTOCOLS:
        assert f"'{name}'" in problem.message


def test_another_first_name_of_a_model_changes_what_every_task_inherits() -> None:
    one = an_org()
    moved = an_org(ENDPOINT="https://b.example")
    assert moved.defaults_digest == one.defaults_digest, "an address does not enter the tasks"
    assert an_org(NAMES="[tiny, small]").defaults_digest != one.defaults_digest
