"""A kubeconfig can name neither a program nor a file of the machine that opens it (I9)."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet.kube import KubeClient


@pytest.mark.parametrize(
    "user",
    [
        {"exec": {"command": "touch", "args": ["/tmp/x"], "apiVersion": "v1"}},
        {"auth-provider": {"name": "gcp", "config": {"cmd-path": "/bin/x"}}},
        {"tokenFile": "/etc/passwd"},
        {"client-certificate": "/etc/x", "client-key": "other.config"},
        {"token": "x", "as": "admin"},
    ],
)
def test_programs_and_files_are_refused(
    make_kubeconfig: Callable[..., Path], user: dict[str, object]
) -> None:
    """I9: refused before anything is run or read, and the error names the remedy."""
    path = make_kubeconfig("https://127.0.0.1:1", user)
    with pytest.raises(ConfigurationError) as refused:
        KubeClient.from_kubeconfig(path)
    assert refused.value.place == str(path)
    assert "flatten" in (refused.value.cure or "")


def test_a_ca_file_is_refused(make_kubeconfig: Callable[..., Path]) -> None:
    path = make_kubeconfig("https://127.0.0.1:1", **{"certificate-authority": "/etc/ssl/ca"})
    with pytest.raises(ConfigurationError, match="certificate-authority"):
        KubeClient.from_kubeconfig(path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "a: [", "current-context: 5", "x" * 1_100_000, "current-context: none", "\x00"],
)
def test_an_invalid_kubeconfig_is_refused(tmp_path: Path, content: str) -> None:
    """I10: the error names the file; I8: it shows nothing of the content."""
    path = tmp_path / "bad.config"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        KubeClient.from_kubeconfig(path)
    assert refused.value.place == str(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KubeClient.from_kubeconfig(tmp_path / "none.config")


def test_broken_certificates_are_named(make_kubeconfig: Callable[..., Path]) -> None:
    junk = base64.b64encode(b"no certificate").decode()
    user = {"client-certificate-data": junk, "client-key-data": junk}
    with pytest.raises(ConfigurationError, match="certificates"):
        KubeClient.from_kubeconfig(make_kubeconfig("https://127.0.0.1:1", user))
    with pytest.raises(ConfigurationError, match="not base64"):
        KubeClient.from_kubeconfig(
            make_kubeconfig("https://127.0.0.1:1", {**user, "client-key-data": "%"})
        )


def test_keys_do_not_stay_on_disk(
    make_kubeconfig: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: a client certificate's key is in a file only while it is loaded."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=x", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    user = {
        "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }
    client = KubeClient.from_kubeconfig(make_kubeconfig("https://127.0.0.1:1", user))
    assert client.namespace == "agents"
    assert list(folder.iterdir()) == []


def test_a_missing_service_account_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        KubeClient.from_incluster()
    assert refused.value.cure == "give a kubeconfig"
