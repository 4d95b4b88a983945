"""A machine that cannot carry a node is told so, with the two ways out."""

from __future__ import annotations

import os
import sys

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster import cluster


@pytest.mark.parametrize(
    ("platform", "user", "why"), [("darwin", 0, "needs Linux"), ("linux", 1000, "needs root")]
)
def test_one_sentence_names_the_reason_and_both_ways_out(
    monkeypatch: pytest.MonkeyPatch, platform: str, user: int, why: str
) -> None:
    """I10: cause, place and cure."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(ConfigurationError, match=why) as failure:
        cluster.require_node_machine()
    told = str(failure.value)
    assert "--no-node" in told
    assert "kubeconfig" in told
    assert "\n" not in told
