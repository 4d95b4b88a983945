"""The error on a machine that cannot run a node names the cause and both alternatives."""

from __future__ import annotations

import os
import sys

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster import cluster


@pytest.mark.parametrize(
    ("platform", "user", "why"), [("darwin", 0, "requires Linux"), ("linux", 1000, "requires root")]
)
def test_error_names_cause_and_alternatives(
    monkeypatch: pytest.MonkeyPatch, platform: str, user: int, why: str
) -> None:
    """I10: one line with the cause and what to do."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(ConfigurationError, match=why) as failure:
        cluster.require_node_machine()
    message = str(failure.value)
    assert "--no-node" in message
    assert "kubeconfig" in message
    assert "\n" not in message
