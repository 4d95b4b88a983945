"""A task can name any Secret, but use only those that their owners labelled for it."""

from __future__ import annotations

from typing import Any

import pytest

from guildnet_operator.references import config_maps, git_secrets, refusal
from guildnet_operator.views import SecretView

SPEC: dict[str, Any] = {
    "context": [
        {"name": "web", "git": {"url": "https://git.example/acme/web.git", "secret": "forge"}},
        {"name": "rules", "configMap": "coding-rules"},
    ],
    "pullRequest": {"context": "web", "secret": "bot"},
    "agent": {
        "env": [{"name": "KEY", "secretKeyRef": {"name": "keys", "key": "token"}}],
        "model": {"use": "main"},
    },
}
GOOD = {
    "forge": SecretView("forge", "git", ("git.example",), frozenset({"token"})),
    "bot": SecretView("bot", "git", ("git.example:443",), frozenset({"token"})),
    "keys": SecretView("keys", "agent-env", (), frozenset({"token"})),
    "model": SecretView("model", "model", ("model.example",), frozenset({"api-key"})),
}
MODELS = {"main": {"baseURL": "https://model.example/v1", "secret": "model"}}
MARKED = {"coding-rules": "context", "guildnet-org": "", "kube-root-ca.crt": ""}


def test_labelled_secrets_and_config_maps_may_be_used() -> None:
    assert refusal(SPEC, "acme", GOOD, MARKED, MODELS) is None
    assert git_secrets(SPEC) == ["bot", "forge"]
    assert config_maps(SPEC) == ["coding-rules"]


@pytest.mark.parametrize(
    ("name", "given", "reason", "text"),
    [
        ("forge", None, "SecretNotFound", "guildnet secret set acme forge --use git --host git.ex"),
        ("forge", SecretView("forge", "", (), frozenset()), "PolicyDenied", "not marked for tasks"),
        ("forge", SecretView("forge", "mesh", (), frozenset()), "PolicyDenied", "is for mesh"),
        ("bot", SecretView("bot", "git", ("evil.example",), frozenset()), "PolicyDenied", "evil"),
        ("bot", SecretView("bot", "git", ("git.example:8443",), frozenset()), "PolicyDenied", "84"),
        ("bot", SecretView("bot", "git", (), frozenset()), "PolicyDenied", "its hosts: none"),
        ("keys", None, "SecretNotFound", "--use agent-env"),
        ("keys", SecretView("keys", "git", (), frozenset({"token"})), "PolicyDenied", "is for git"),
        (
            "keys",
            SecretView("keys", "agent-env", (), frozenset()),
            "SecretNotFound",
            "no key token",
        ),
        (
            "keys",
            SecretView("keys", "agent-env", (), frozenset({"k"})),
            "SecretNotFound",
            "has k",
        ),
        ("model", None, "SecretNotFound", "set acme model --use model --host model.example"),
        (
            "model",
            SecretView("model", "agent-env", (), frozenset({"api-key"})),
            "PolicyDenied",
            "is for agent-env",
        ),
        (
            "model",
            SecretView("model", "model", ("evil.example",), frozenset({"api-key"})),
            "PolicyDenied",
            "may not be used for model.example (its hosts: evil.example)",
        ),
        (
            "model",
            SecretView("model", "model", ("model.example",), frozenset({"token"})),
            "SecretNotFound",
            "has no key api-key",
        ),
    ],
)
def test_an_unlabelled_or_missing_secret_is_refused(
    name: str, given: SecretView | None, reason: str, text: str
) -> None:
    """I10: the reason, and the command to run."""
    secrets = {key: value for key, value in GOOD.items() if key != name}
    secrets = secrets if given is None else {**secrets, name: given}
    found = refusal(SPEC, "acme", secrets, MARKED, MODELS)
    assert found is not None
    assert found.reason == reason
    assert text in found.message


def test_an_impossible_port_is_an_invalid_spec_as_the_supervisor_has_it() -> None:
    context = {"name": "w", "git": {"url": "https://git.example:99999/x", "secret": "forge"}}
    found = refusal({"context": [context]}, "acme", GOOD, {}, {})
    assert found is not None
    assert found.reason == "InvalidSpec"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("guildnet-org", "PolicyDenied"),
        ("kube-root-ca.crt", "PolicyDenied"),
        ("other-0f1e2", "PolicyDenied"),
        ("for-git", "PolicyDenied"),
        ("missing", "ConfigMapNotFound"),
    ],
)
def test_a_config_map_without_the_context_label_is_refused(name: str, reason: str) -> None:
    spec = {"context": [{"name": "rules", "configMap": name}]}
    uses = {**MARKED, "other-0f1e2": "", "for-git": "git"}
    found = refusal(spec, "acme", {}, uses, {})
    assert found is not None
    assert found.reason == reason
    assert f"kubectl label configmap {name} guildnet.io/use=context" in found.message


def test_a_model_that_the_org_does_not_have_is_refused() -> None:
    found = refusal({"agent": {"model": {"use": "gone"}}}, "acme", GOOD, {}, MODELS)
    assert found is not None
    assert found.reason == "InvalidSpec"
    assert "no model 'gone'; it has: main" in found.message
