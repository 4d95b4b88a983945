"""Each field of a kubeconfig is read as kubectl reads it, or refused by name (I10)."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guildnet.errors import ConfigurationError
from guildnet.kube import KubeClient
from guildnet.kube.kubeconfig_data import Access, access, read_file
from guildnet_cli.cluster.kubeconfigs import read_kubeconfig

SERVER = "https://127.0.0.1:1"
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A certificate and its key, PEM."""
    folder = tmp_path_factory.mktemp("pair")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=x", "-keyout", "key", "-out", "certificate"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return (folder / "certificate").read_bytes(), (folder / "key").read_bytes()


def wrapped(data: bytes) -> str:
    text = base64.b64encode(data).decode()
    return "\r\n".join(text[at : at + 64] for at in range(0, len(text), 64)) + "\n"


def accepted(path: Path) -> Access:
    """What both `org add` and the client read from a kubeconfig."""
    stored = path.with_name("stored")
    stored.write_text(json.dumps(read_kubeconfig(path, context=None)))
    KubeClient.from_kubeconfig(stored)
    KubeClient.from_kubeconfig(path)
    return access(read_file(stored), None, None, "here")


def refused(path: Path) -> str:
    """The message with which the client refuses it; `org add` must refuse it too."""
    with pytest.raises(ConfigurationError) as by_client:
        KubeClient.from_kubeconfig(path)
    with pytest.raises(ConfigurationError):
        read_kubeconfig(path, context=None)
    return str(by_client.value)


def test_base64_with_line_ends(make_kubeconfig: Make, pair: tuple[bytes, bytes]) -> None:
    certificate, key = pair
    user = {
        "client-certificate-data": wrapped(certificate),
        "client-key-data": wrapped(key),
        "token": "t",
    }
    found = accepted(
        make_kubeconfig(SERVER, user, **{"certificate-authority-data": wrapped(certificate)})
    )
    assert found.key == key
    assert found.authorization == "Bearer t"  # kubectl sends both


def test_a_bundle_with_comments(make_kubeconfig: Make, pair: tuple[bytes, bytes]) -> None:
    bundle = "# Főtanúsítvány\n".encode() + pair[0] + b"\xff\xfe\n" + pair[0]
    data = base64.b64encode(bundle).decode()
    found = accepted(make_kubeconfig(SERVER, **{"certificate-authority-data": data}))
    assert found.authorities is not None
    assert found.authorities.count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("indent", ["\t", 2])
def test_json_in_any_encoding_and_indentation(
    make_kubeconfig: Make, encoding: str, indent: str | int
) -> None:
    path = make_kubeconfig(SERVER)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=indent), encoding=encoding)
    assert accepted(path).server == SERVER


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ({"token": "abc\n"}, "Bearer abc"),
        ({"token": "  abc \r\n"}, "Bearer abc"),
        ({"username": "joe", "password": "p\n"}, "Basic " + base64.b64encode(b"joe:p\n").decode()),
        (
            {"username": "joe", "password": "pä"},
            "Basic " + base64.b64encode("joe:pä".encode()).decode(),
        ),
        ({}, None),
    ],
)
def test_credentials(make_kubeconfig: Make, user: dict[str, Any], sent: str | None) -> None:
    assert accepted(make_kubeconfig(SERVER, user or {"password": "unused"})).authorization == sent


@pytest.mark.parametrize(
    "cluster",
    [
        {"server": "https://[::1]:6443"},
        {"server": "https://api.example:6443/k8s/clusters/c-1/"},
        {"server": "http://127.0.0.1:1"},
        {"server": SERVER, "proxy-url": "http://joe:pw@proxy.example:3128"},
        {"server": SERVER, "proxy-url": "https://[::1]:3128"},
        {"server": SERVER, "tls-server-name": "api.example"},
        {"server": SERVER, "insecure-skip-tls-verify": True},
    ],
)
def test_supported_clusters(make_kubeconfig: Make, cluster: dict[str, Any]) -> None:
    assert accepted(make_kubeconfig(**cluster)).server == cluster["server"].rstrip("/")


JUNK = base64.b64encode(b"no certificate").decode()


@pytest.mark.parametrize(
    ("cluster", "word"),
    [
        ({"server": "https://127.0.0.1:99999"}, "server"),
        ({"server": "https://[::1/"}, "server"),
        ({"server": "api.example:6443"}, "server"),
        ({"server": "https://joe:SEKRET@api.example"}, "server"),
        ({"server": "https://api.example/?token=SEKRET"}, "server"),
        ({"server": "https://api.exa\nmple"}, "server"),
        ({"server": 7}, "server"),
        ({"server": "http://api.example:8080"}, "unencrypted"),
        ({"proxy-url": 5}, "proxy-url"),
        ({"proxy-url": "socks4://joe:SEKRET@127.0.0.1:1"}, "socks4 proxy"),
        ({"proxy-url": "http://joe:SEKRET@[::1"}, "proxy-url"),
        ({"proxy-url": "proxy.example:3128"}, "proxy"),
        ({"proxy-url": "http://:SEKRET@:3128"}, "proxy-url"),
        ({"proxy-url": "http://p:99999"}, "proxy-url"),
        ({"tls-server-name": 5}, "tls-server-name"),
        ({"insecure-skip-tls-verify": "yes"}, "insecure-skip-tls-verify"),
        ({"certificate-authority-data": JUNK}, "certificate-authority-data"),
        ({"certificate-authority-data": "%%"}, "certificate-authority-data"),
    ],
)
def test_clusters_that_are_refused(
    make_kubeconfig: Make, cluster: dict[str, Any], word: str
) -> None:
    message = refused(make_kubeconfig(**{"server": SERVER, **cluster}))
    assert word in message
    assert "SEKRET" not in message


@pytest.mark.parametrize(
    ("user", "word"),
    [
        ({"token": "SEK\nRET"}, "token"),
        ({"token": "SEKRET\u2028x"}, "token"),
        ({"token": 12345}, "token"),
        ({"username": "joe", "password": 12345}, "password"),
        ({"token": "SEKRET", "username": "joe"}, "username"),
        ({"client-certificate-data": JUNK}, "client-key-data is missing"),
        ({"client-key-data": JUNK}, "client-certificate-data is missing"),
        ({"client-certificate-data": JUNK, "client-key-data": "%"}, "client-key-data"),
        (
            {
                "client-certificate-data": JUNK,
                "client-key-data": base64.b64encode(b"BEGIN ENCRYPTED PRIVATE KEY").decode(),
            },
            "passphrase",
        ),
    ],
)
def test_users_that_are_refused(make_kubeconfig: Make, user: dict[str, Any], word: str) -> None:
    message = refused(make_kubeconfig(SERVER, user))
    assert word in message
    assert "SEKRET" not in message
    assert "SEK" not in message


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("https://10.1.2.3:6443", "10.0.0.0/8", True),
        ("https://11.1.2.3:6443", "10.0.0.0/8", False),
        ("https://[fd00::1]:6443", "fd00::/8", True),
        ("https://[fd00::1]", "fd00::1", True),
        ("https://a.cluster.local", ".cluster.local", True),
        ("https://a.cluster.local", "*.cluster.local", True),
        ("https://a.cluster.local", "cluster.local", True),
        ("https://acluster.local", "cluster.local", False),
        ("https://api.example:6443", "api.example:6443", True),
        ("https://api.example", "api.example:6443", False),
        ("https://10.1.2.3:6443", "10.1.2.3:6443", True),
        ("https://API.example", "x, api.EXAMPLE ", True),
        ("https://api.example", "*", True),
        ("https://api.example", "", False),
        ("https://127.0.0.1:1", "", True),
        ("https://localhost:1", "", True),
        ("https://[::1]:1", "", True),
        ("https://api.example", "not/a/network,999.1.1.1/8,:,[", False),
    ],
)
def test_no_proxy_is_read_as_go_reads_it(
    monkeypatch: pytest.MonkeyPatch, host: str, no_proxy: str, direct: bool
) -> None:
    from guildnet.proxies import environment_proxy

    for name in ("https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert environment_proxy(host) == (None if direct else "http://proxy.example:3128")


def test_an_unsupported_proxy_of_the_environment_is_refused_by_name(
    make_kubeconfig: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks4://joe:SEKRET@127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY: a socks4 proxy") as message:
        KubeClient.from_kubeconfig(make_kubeconfig("https://api.example"))
    assert "SEKRET" not in str(message.value)
