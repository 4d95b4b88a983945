"""Gitea's settings file."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from guildnet_devcluster.forge_files import Home, app_ini, reachable, with_address_of

HOME = Home(Path("/var/tmp/forge"))


def _read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string("[top]\n" + text)
    return parser


def test_a_new_address_keeps_the_secrets_that_gitea_added() -> None:
    first = app_ini(HOME, listen="127.0.0.1:3000", root_url="http://a:3000", user="nobody")
    kept = first.replace("INSTALL_LOCK = true", "INSTALL_LOCK = true\nINTERNAL_TOKEN = x=y=")
    fresh = app_ini(HOME, listen="0.0.0.0:4000", root_url="http://b:4000", user="nobody")

    merged = _read(with_address_of(fresh, kept))

    assert merged["security"]["INTERNAL_TOKEN"] == "x=y="
    assert dict(merged["server"]) == dict(_read(fresh)["server"])


def test_the_address_and_the_user_are_set() -> None:
    told = _read(app_ini(HOME, listen=":3000", root_url="http://10.0.0.1:3000", user="nobody"))

    assert told["server"]["ROOT_URL"] == "http://10.0.0.1:3000/"
    assert told["server"]["DOMAIN"] == "10.0.0.1"
    assert told["server"]["HTTP_ADDR"] == ""
    assert told["top"]["RUN_USER"] == "nobody"


def test_a_webhook_waits_in_no_queue_that_is_polled() -> None:
    told = _read(app_ini(HOME, listen=":3000", root_url="http://10.0.0.1:3000", user="nobody"))

    assert told["queue.push_update"]["TYPE"] == "channel"
    assert told["queue.webhook_sender"]["TYPE"] == "channel"
    # Gitea forgets to take a pull request up again when this one is in memory.
    assert "queue.pr_patch_checker" not in told
    assert "queue" not in told


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        ("0.0.0.0:3000", "127.0.0.1:3000"),
        (":3000", "127.0.0.1:3000"),
        ("10.0.0.1:3000", "10.0.0.1:3000"),
    ],
)
def test_an_address_to_listen_on_is_reached_from_here(listen: str, reached: str) -> None:
    assert reachable(listen) == reached
