"""Whatever aiohttp raises while a request is under way maps to one of our errors."""

from __future__ import annotations

import ssl

import aiohttp
import pytest

from guildnet.errors import KubeUnavailable
from guildnet.kube.api_errors import api_error, no_answer
from guildnet.kube.transport import NO_ANSWER

RAISED = [
    error
    for name, error in vars(aiohttp.client_exceptions).items()
    if isinstance(error, type)
    and issubclass(error, Exception)
    and "aiohttp" in error.__module__
    # Errors of WebSockets, which the product does not use.
    and not name.startswith("WS")
]


@pytest.mark.parametrize("error", [*RAISED, ssl.SSLError, ConnectionResetError, TimeoutError])
def test_each_error_is_caught(error: type[Exception]) -> None:
    assert issubclass(error, NO_ANSWER)


def test_time_out_and_refused_connection_have_different_messages() -> None:
    """I10: a person can tell a server that hangs from one that is down."""
    silent = no_answer(TimeoutError(), "cluster acme: get x", 4)
    closed = no_answer(ConnectionRefusedError(111, "Connection refused"), "cluster acme: get x")
    assert (silent.reason, closed.reason) == ("Timeout", "Unreachable")
    assert "within 4 s" in str(silent)
    assert "Connection refused" in str(closed)
    assert isinstance(silent, KubeUnavailable)
    assert (
        silent.cure
        == closed.cure
        == "check that the cluster is running and can be reached from here"
    )


def test_messages_are_bounded() -> None:
    assert len(api_error(400, "x" * 100_000, "BadRequest", "here").message) == 2000
