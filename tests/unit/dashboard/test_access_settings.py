"""Where the dashboard may listen, and the errors for settings that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet.serving import is_local_name, parse_listen
from guildnet_dashboard.access import check_exposure
from guildnet_dashboard.settings import Settings

LOCAL = Settings(repository="state.git", state_dir=Path("state"))
OPEN = replace(LOCAL, listen="0.0.0.0:8443")
WITH_TLS = replace(OPEN, tls_cert=Path("cert"), tls_key=Path("key"))


@pytest.mark.parametrize(
    "settings",
    [
        LOCAL,
        replace(LOCAL, listen="[::1]:8443"),
        replace(LOCAL, listen="localhost:0"),
        replace(OPEN, insecure=True),
        replace(WITH_TLS, token_file=Path("token")),
        replace(OPEN, token_file=Path("token"), dev_tls=True),
    ],
)
def test_accepted_settings(settings: Settings) -> None:
    check_exposure(settings)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (OPEN, "requires TLS.*and a token"),
        (replace(OPEN, token_file=Path("token")), "requires TLS"),
        (replace(OPEN, dev_tls=True), "requires a token"),
        (replace(LOCAL, tls_cert=Path("cert")), "--tls-key"),
        (replace(WITH_TLS, dev_tls=True), "cannot be combined"),
        (replace(LOCAL, listen="8443"), "not an address"),
        (replace(LOCAL, listen="127.0.0.1:99999"), "not an address"),
    ],
)
def test_refused_settings(settings: Settings, missing: str) -> None:
    """I10: the error names what is missing and the options that provide it."""
    with pytest.raises(ConfigurationError, match=missing) as refusal:
        check_exposure(settings)
    assert refusal.value.cure


def test_local_names_and_addresses() -> None:
    assert parse_listen("[::1]:8443") == ("::1", 8443)
    assert is_local_name("127.0.0.2")
    assert is_local_name("task.acme.localhost")
    assert not is_local_name("localhost.example")
