"""A cluster's certificate authority: its certificates work for mutual TLS, and no others do."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from guildnet_devcluster.pki import Authority, KeyPair, kubeconfig, write_private


def handshake(authority: Authority, serving: KeyPair, client: KeyPair | None) -> str:
    """Return the client's name as seen by the server; ssl.SSLError if either side refuses."""
    ours, theirs = socket.socketpair()
    server = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(authority.own.certificate)
    )
    server.load_cert_chain(serving.certificate, serving.key)
    server.verify_mode = ssl.CERT_REQUIRED
    seen: list[str] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as tls:
                subject = cast(Any, tls.getpeercert())["subject"]
                seen.extend(value for ((key, value),) in subject if key == "commonName")
                tls.sendall(b"!")
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client_context = ssl.create_default_context(cafile=str(authority.own.certificate))
    if client is not None:
        client_context.load_cert_chain(client.certificate, client.key)
    try:
        with client_context.wrap_socket(ours, server_hostname="127.0.0.1") as tls:
            tls.recv(1)
    finally:
        thread.join()
        ours.close()
    return seen[0]


def test_mutual_tls(tmp_path: Path) -> None:
    """Client and server authenticate each other."""
    authority = Authority.in_folder(tmp_path)
    serving = authority.issue("server", "server", names=["localhost", "127.0.0.1"])
    client = authority.issue("admin", "admin", ["system:masters"])
    assert handshake(authority, serving, client) == "admin"


def test_another_clusters_client_is_refused(tmp_path: Path) -> None:
    """I2: the administrator of one cluster has no access to another."""
    authority = Authority.in_folder(tmp_path / "one")
    serving = authority.issue("server", "server", names=["127.0.0.1"])
    stranger = Authority.in_folder(tmp_path / "two").issue("admin", "admin", ["system:masters"])
    with pytest.raises((ssl.SSLError, OSError, IndexError)):
        handshake(authority, serving, stranger)


def test_authority_and_token_key_are_kept(tmp_path: Path) -> None:
    """Certificates and tokens issued before a restart stay valid."""
    first = Authority.in_folder(tmp_path)
    kept = (first.own.certificate.read_bytes(), first.signing_key("tokens").key.read_bytes())
    second = Authority.in_folder(tmp_path)
    assert (
        second.own.certificate.read_bytes(),
        second.signing_key("tokens").key.read_bytes(),
    ) == kept


def test_private_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    """I8: no key and no kubeconfig is readable by others."""
    authority = Authority.in_folder(tmp_path / "pki")
    pair = authority.issue("admin", "admin", ["system:masters"])
    whole = kubeconfig(authority, pair, "https://127.0.0.1:1", "lab")
    write_private(tmp_path / "kubeconfig", whole)
    for file in (authority.own.key, pair.key, tmp_path / "kubeconfig"):
        assert file.stat().st_mode & 0o077 == 0, file
    # Self-contained: it can be copied elsewhere, since it names no file or command of this machine.
    assert str(tmp_path) not in whole
    assert json.loads(whole)["current-context"] == "lab"
