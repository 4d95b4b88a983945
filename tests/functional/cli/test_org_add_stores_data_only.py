"""`guildnet org add` writes an org's file and stores a kubeconfig without external references."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from guildnet.loading import load_org
from guildnet.resources import Source

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet


def kubeconfig(
    user: dict[str, Any] | None = None, cluster: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "first",
        "contexts": [
            {"name": "first", "context": {"cluster": "c", "user": "u"}},
            {"name": "second", "context": {"cluster": "d", "user": "u", "namespace": "old"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://c.example:6443", **(cluster or {})}},
            {"name": "d", "cluster": {"server": "https://d.example:6443"}},
        ],
        "users": [{"name": "u", "user": user or {"token": "sesame"}}],
    }


def stored() -> Path:
    return Path(os.environ["GUILDNET_STATE_DIR"]) / "kube/acme.config"


def add(guildnet: Guildnet, root: Path, config: object, *more: str) -> Any:
    (root / "given.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return guildnet("org", "add", "acme", "--kubeconfig", "given.yaml", *more, cwd=root)


def test_with_mesh_the_kubeconfig_leads_to_the_peer(guildnet: Guildnet, tmp_path: Path) -> None:
    proxy = "socks5://127.0.0.1:1080"
    answer = add(guildnet, tmp_path, kubeconfig(), "--mesh", "--mesh-proxy", proxy)
    assert answer.code == 0, answer
    [cluster] = yaml.safe_load(stored().read_text())["clusters"]
    assert cluster["cluster"] == {
        "server": "https://acme-api:6443",
        "tls-server-name": "c.example",
        "proxy-url": proxy,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mesh", "--mesh-proxy", "ftp://127.0.0.1:1"), "a ftp proxy is not supported"),
        (("--mesh", "--mesh-proxy", "127.0.0.1:1055"), "the proxy URL is invalid"),
        (("--mesh", "--mesh-host", "no name"), "server is not a URL"),
        (("--mesh-proxy", "http://127.0.0.1:1055"), "require --mesh"),
    ],
)
def test_with_wrong_mesh_options_nothing_is_stored(
    guildnet: Guildnet, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    answer = add(guildnet, tmp_path, kubeconfig(), *options)
    assert answer.code != 0
    assert message in " ".join(answer.err.split())
    assert not stored().exists()
    assert not (tmp_path / "orgs").exists()


def test_the_orgs_file_is_valid_and_the_kubeconfig_private(
    guildnet: Guildnet, tmp_path: Path
) -> None:
    """I8, I9: no credential in git, and only its owner can read the stored file."""
    answer = add(guildnet, tmp_path, kubeconfig(), "--context", "second", "--namespace", "work")
    assert (answer.code, answer.out) == (0, "orgs/acme.yaml\n"), answer
    data = (tmp_path / "orgs/acme.yaml").read_bytes()
    org = load_org(data, Source("orgs/acme.yaml"))
    assert (org.cluster.kubeconfig, org.cluster.context, org.cluster.namespace) == (
        ("acme", "second", "work")
    )
    assert b"sesame" not in data
    assert "sesame" not in answer.out + answer.err
    assert stat.S_IMODE(stored().stat().st_mode) == 0o600
    assert stat.S_IMODE(stored().parent.stat().st_mode) == 0o700
    kept = yaml.safe_load(stored().read_text())
    assert [c["name"] for c in kept["contexts"]] == ["second"]
    assert [c["cluster"]["server"] for c in kept["clusters"]] == ["https://d.example:6443"]
    assert kept["contexts"][0]["context"]["namespace"] == "work"


def test_certificates_in_files_are_embedded(guildnet: Guildnet, tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=x", "-keyout", "ca.key", "-out", "ca.crt"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    config = kubeconfig(cluster={"certificate-authority": "ca.crt"})
    assert add(guildnet, tmp_path, config).code == 0
    cluster = yaml.safe_load(stored().read_text())["clusters"][0]["cluster"]
    assert (
        base64.b64decode(cluster["certificate-authority-data"])
        == (tmp_path / "ca.crt").read_bytes()
    )
    assert "certificate-authority" not in cluster


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (kubeconfig({"exec": {"command": "aws"}}), "exec logs in by a program"),
        (kubeconfig({"auth-provider": {"name": "gcp"}}), "auth-provider logs in by a program"),
        (kubeconfig({"tokenFile": "/var/run/token"}), "tokenFile refers to another file"),
        (kubeconfig(cluster={"certificate-authority": "gone.crt"}), "gone.crt: cannot read"),
        ({**kubeconfig(), "current-context": "third"}, "context 'third' not found"),
        ({**kubeconfig(), "current-context": ""}, "it has no current context"),
        (kubeconfig(cluster={"certificate-authority-data": "%"}), "certificate-authority-data is"),
        (kubeconfig(cluster={"proxy-url": "socks4://127.0.0.1:1"}), "a socks4 proxy"),
        ({**kubeconfig(), "users": []}, "user 'u' not found (in the file: none)"),
        ("a: [", "it is not valid YAML"),
        ("hello", "it is not a kubeconfig"),
        ("x" * 2_000_000, "larger than 1,048,576 bytes"),
    ],
)
def test_an_unsafe_kubeconfig_is_refused_and_nothing_is_written(
    guildnet: Guildnet, tmp_path: Path, config: object, message: str
) -> None:
    """I9: no program and no path of this host; I10: place, cause and what to do."""
    answer = add(guildnet, tmp_path, config)
    assert answer.code == 1
    assert message in answer.err
    assert not stored().exists()
    assert not (tmp_path / "orgs").exists()


def test_an_existing_org_keeps_its_file(guildnet: Guildnet, tmp_path: Path) -> None:
    add(guildnet, tmp_path, kubeconfig())
    file = tmp_path / "orgs/acme.yaml"
    file.write_text(file.read_text() + "  limits: {maxActive: 2}\n")
    before = file.read_text()
    answer = add(guildnet, tmp_path, kubeconfig({"token": "another"}))
    assert answer.code == 0
    assert "already exists and was not changed" in answer.err
    assert file.read_text() == before
    assert yaml.safe_load(stored().read_text())["users"][0]["user"] == {"token": "another"}


def test_an_invalid_name_is_refused(guildnet: Guildnet, tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(kubeconfig()))
    for name in ("../up", "Acme", "a" * 51):
        answer = guildnet("org", "add", name, "--kubeconfig", "given.yaml")
        assert answer.code == 1
        assert "orgs/" in answer.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given.yaml"]


def test_without_a_stored_kubeconfig_the_error_says_what_to_do(
    guildnet: Guildnet, tmp_path: Path
) -> None:
    add(guildnet, tmp_path, kubeconfig())
    stored().unlink()
    answer = guildnet("doctor", "acme")
    assert answer.code == 1
    assert "no kubeconfig for org acme" in answer.err
    assert "guildnet org add acme --kubeconfig FILE" in answer.err


def test_egress_options_are_written_to_the_org(guildnet: Guildnet, tmp_path: Path) -> None:
    """Agents can reach nothing else, the forge included."""
    openings = ("--egress", "git.example", "--egress", "10.0.0.1:3000")
    assert add(guildnet, tmp_path, kubeconfig(), *openings).code == 0
    org = load_org((tmp_path / "orgs/acme.yaml").read_bytes(), Source("orgs/acme.yaml"))
    assert org.spec["agent"]["egress"] == [
        {"host": "git.example", "port": 443},
        {"host": "10.0.0.1", "port": 3000},
    ]


@pytest.mark.parametrize("place", ["git.example:none", "https://git.example", ":443", "h:70000"])
def test_invalid_egress_is_refused(guildnet: Guildnet, tmp_path: Path, place: str) -> None:
    """I10: the error names the field; nothing is written."""
    answer = add(guildnet, tmp_path, kubeconfig(), "--egress", place)
    assert answer.code == 1
    assert "spec.agent.egress" in answer.err
    assert not (tmp_path / "orgs/acme.yaml").exists()
    assert not stored().exists()


MODEL = (
    *("--model", "main=https://model.example/v1", "--model-protocol", "openai-responses"),
    *("--model-name", "some-model", "--model-secret", "key-of-model"),
)


def test_model_and_preset_options_are_written_to_the_org(
    guildnet: Guildnet, tmp_path: Path
) -> None:
    price = ("--model-price", "some-model=3/15")
    answer = add(guildnet, tmp_path, kubeconfig(), "--preset", "codex", *MODEL, *price)
    assert answer.code == 0, answer.err
    spec = yaml.safe_load((tmp_path / "orgs/acme.yaml").read_text())["spec"]
    assert spec["agent"] == {"preset": "codex"}
    assert spec["models"]["main"] == {
        "protocol": "openai-responses",
        "baseURL": "https://model.example/v1",
        "secret": "key-of-model",
        "names": ["some-model"],
        "prices": {"some-model": {"input": 3.0, "output": 15.0}},
    }
    assert "secret set acme key-of-model --use model --host model.example" in answer.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model-name", "x"), "require --model"),
        (("--model", "https://model.example"), "NAME=URL"),
        (("--model", "main=https://model.example"), "--model-protocol"),
        ((*MODEL, "--model-price", "3/15/1"), "NAME=INPUT/OUTPUT"),
        ((*MODEL, "--model-price", "other=3/15"), "'other' is not one of its names"),
        (("--preset", "codexx"), "codexx"),
    ],
)
def test_an_invalid_model_is_refused(
    guildnet: Guildnet, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    answer = add(guildnet, tmp_path, kubeconfig(), *options)
    assert answer.code != 0
    assert message in answer.err
    assert not (tmp_path / "orgs/acme.yaml").exists()
