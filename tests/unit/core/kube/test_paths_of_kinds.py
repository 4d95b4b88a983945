"""API paths of objects, and of HTTP requests to pods."""

from __future__ import annotations

import pytest

from guildnet.errors import KubeInvalid
from guildnet.kube import AGENT_TASKS, NAMESPACES, PODS, kind_of
from guildnet.kube.pods import is_plain_path


def test_paths() -> None:
    assert PODS.path("ns", "a") == "/api/v1/namespaces/ns/pods/a"
    assert PODS.path() == "/api/v1/pods"
    assert NAMESPACES.path("ignored", "n") == "/api/v1/namespaces/n"
    assert AGENT_TASKS.path("ns") == "/apis/guildnet.io/v1alpha1/namespaces/ns/agenttasks"


def test_a_name_stays_one_path_segment() -> None:
    """I9: a name cannot leave its collection."""
    assert PODS.path("a/b", "../x") == "/api/v1/namespaces/a%2Fb/pods/..%2Fx"
    assert PODS.path("ns", "a?b#c") == "/api/v1/namespaces/ns/pods/a%3Fb%23c"


def test_kind_of_an_object() -> None:
    assert kind_of({"apiVersion": "v1", "kind": "Pod"}) is PODS
    assert kind_of({"apiVersion": "guildnet.io/v1alpha1", "kind": "AgentTask"}) is AGENT_TASKS
    with pytest.raises(KubeInvalid, match="unsupported kind Gadget of v1"):
        kind_of({"apiVersion": "v1", "kind": "Gadget"})


@pytest.mark.parametrize("path", ["/state?wait=30", "/artifacts/last_pr.json", "/"])
def test_paths_of_agents(path: str) -> None:
    assert is_plain_path(path)


@pytest.mark.parametrize(
    "path", ["", "x", "/../a", "/a/../../b", "/%2e%2e/b", "/a b", "/a\r\nX: y", "/a#b", "/é"]
)
def test_paths_that_could_leave_the_pod(path: str) -> None:
    """I9: no path leaves the pod's proxy path."""
    assert not is_plain_path(path)
