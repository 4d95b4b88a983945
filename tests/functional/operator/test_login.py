"""kopf's watches reach the API server as the operator's own client does."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from guildnet.errors import ConfigurationError
from guildnet_operator.login import connection_info

AUTHORITY = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def kubeconfig(folder: Path, user: dict[str, Any], **cluster: Any) -> Path:
    own = {"server": "https://10.0.0.1:6443/", **cluster}
    config = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": own}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_token_and_an_authority_are_taken_over(tmp_path: Path) -> None:
    # Line ends within base64 are left out, as kubectl does.
    data = base64.encodebytes(AUTHORITY.encode()).decode()
    path = kubeconfig(tmp_path, {"token": " T1 "}, **{"certificate-authority-data": data})
    found = connection_info(path, None, "agents")
    assert found.server == "https://10.0.0.1:6443"
    assert found.as_http_headers() == {"Authorization": "Bearer T1"}
    assert found.ca_data == AUTHORITY
    assert found.default_namespace == "agents"
    assert not found.insecure


def test_a_client_certificate_reaches_kopf_as_it_is(tmp_path: Path) -> None:
    pem = f"subject=/CN=me\n{AUTHORITY}".encode()
    encoded = base64.b64encode(pem).decode()
    user = {"client-certificate-data": encoded, "client-key-data": encoded}
    found = connection_info(kubeconfig(tmp_path, user), None)
    assert base64.b64decode(found.certificate_data or b"") == pem
    assert found.private_key_data == found.certificate_data


def test_a_username_becomes_the_same_header_as_in_the_client(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"username": "me", "password": "p"})
    expected = base64.b64encode(b"me:p").decode()
    assert connection_info(path, None).as_http_headers() == {"Authorization": f"Basic {expected}"}


def test_the_environments_proxy_counts_as_for_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert connection_info(kubeconfig(tmp_path, {}), None).proxy_url == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ({"exec": {"command": "aws"}}, "exec"),
        ({"tokenFile": "/etc/passwd"}, "tokenFile"),
        ({"token": 5}, "token"),
    ],
)
def test_what_the_client_refuses_is_refused(
    tmp_path: Path, user: dict[str, Any], problem: str
) -> None:
    """I9"""
    with pytest.raises(ConfigurationError, match=problem):
        connection_info(kubeconfig(tmp_path, user), None)


def test_an_unknown_context_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'prod'"):
        connection_info(kubeconfig(tmp_path, {}), "prod")
