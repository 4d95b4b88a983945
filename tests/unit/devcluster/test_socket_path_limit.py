"""A kubelet whose socket's path is too long never gets ready, and says so only in its log (I10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet_devcluster import node
from guildnet_devcluster.layout import Layout


def test_a_short_place_is_taken() -> None:
    node.check_socket_paths(Layout("acme", Path("/home/somebody/.guildnet/state/devcluster/acme")))


def test_a_long_place_is_refused_with_its_excess_and_a_cure() -> None:
    place = Path("/" + "d" * 100)
    with pytest.raises(ConfigurationError, match="34 bytes too long") as caught:
        node.check_socket_paths(Layout("acme", place))
    assert caught.value.place == str(place)
    assert caught.value.cure is not None
    assert "GUILDNET_STATE_DIR" in caught.value.cure
