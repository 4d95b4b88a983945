"""Gitea's settings file."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from guildnet_devcluster.forge_files import Home, app_ini, connect_address, replace_address

HOME = Home(Path("/var/tmp/forge"))


def _read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string("[top]\n" + text)
    return parser


def test_a_new_address_keeps_secrets_added_by_gitea() -> None:
    first = app_ini(HOME, listen="127.0.0.1:3000", root_url="http://a:3000", user="nobody")
    kept = first.replace("INSTALL_LOCK = true", "INSTALL_LOCK = true\nINTERNAL_TOKEN = x=y=")
    fresh = app_ini(HOME, listen="0.0.0.0:4000", root_url="http://b:4000", user="nobody")

    merged = _read(replace_address(fresh, kept))

    assert merged["security"]["INTERNAL_TOKEN"] == "x=y="
    assert dict(merged["server"]) == dict(_read(fresh)["server"])


def test_the_address_and_the_user_are_set() -> None:
    settings = _read(app_ini(HOME, listen=":3000", root_url="http://10.0.0.1:3000", user="nobody"))

    assert settings["server"]["ROOT_URL"] == "http://10.0.0.1:3000/"
    assert settings["server"]["DOMAIN"] == "10.0.0.1"
    assert settings["server"]["HTTP_ADDR"] == ""
    assert settings["top"]["RUN_USER"] == "nobody"


def test_webhook_queues_are_in_memory() -> None:
    settings = _read(app_ini(HOME, listen=":3000", root_url="http://10.0.0.1:3000", user="nobody"))

    assert settings["queue.push_update"]["TYPE"] == "channel"
    assert settings["queue.webhook_sender"]["TYPE"] == "channel"
    # Gitea loses pending checks of pull requests if this queue is in memory.
    assert "queue.pr_patch_checker" not in settings
    assert "queue" not in settings


def test_gitea_is_an_openid_provider() -> None:
    settings = _read(app_ini(HOME, listen=":3000", root_url="http://10.0.0.1:3000", user="nobody"))

    assert settings["oauth2"]["ENABLED"] == "true"


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        ("0.0.0.0:3000", "127.0.0.1:3000"),
        (":3000", "127.0.0.1:3000"),
        ("10.0.0.1:3000", "10.0.0.1:3000"),
    ],
)
def test_local_address_of_a_listen_address(listen: str, reached: str) -> None:
    assert connect_address(listen) == reached


def test_ssh_is_served_only_on_request() -> None:
    common = {"listen": "127.0.0.1:3000", "root_url": "http://a:3000", "user": "nobody"}
    without = app_ini(HOME, **common)
    with_ssh = app_ini(HOME, **common, ssh_listen="127.0.0.1:2222")

    assert _read(without)["server"]["DISABLE_SSH"] == "true"
    # A forge that runs again may serve SSH from then on.
    server = _read(replace_address(with_ssh, without))["server"]
    assert (server["DISABLE_SSH"], server["START_SSH_SERVER"]) == ("false", "true")
    assert (server["SSH_LISTEN_HOST"], server["SSH_LISTEN_PORT"]) == ("127.0.0.1", "2222")
    assert server["SSH_PORT"] == "2222"
