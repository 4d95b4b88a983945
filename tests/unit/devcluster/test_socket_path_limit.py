"""Paths that are too long for the kubelet's sockets are refused with a clear error (I10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster import node
from guildnet_devcluster.layout import Layout


def test_short_path_is_accepted() -> None:
    node.check_socket_paths(Layout("acme", Path("/home/user/.guildnet/state/devcluster/acme")))


def test_long_path_is_refused() -> None:
    path = Path("/" + "d" * 100)
    with pytest.raises(ConfigurationError, match="34 bytes too long") as caught:
        node.check_socket_paths(Layout("acme", path))
    assert caught.value.place == str(path)
    assert caught.value.cure is not None
    assert "GUILDNET_STATE_DIR" in caught.value.cure
