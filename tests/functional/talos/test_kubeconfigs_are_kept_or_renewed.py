"""Which stored kubeconfig stays, which is fetched anew, and which is never replaced unasked."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.functional.talos.conftest import Checkout

ENDPOINT = "https://127.0.0.77:6443"


def pem_in_base64(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def client_certificate(days: int) -> tuple[str, str]:
    """A certificate that ends in so many days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    return pem_in_base64(public), pem_in_base64(private)


@pytest.fixture
def generated(checkout: Checkout) -> Checkout:
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    return checkout


def store(checkout: Checkout, user: dict[str, str], *, authority: str | None = None) -> None:
    bundle = yaml.safe_load((checkout.state / "talos/acme/secrets.yaml").read_text())
    cluster = {
        "server": ENDPOINT,
        "certificate-authority-data": authority or bundle["certs"]["k8s"]["crt"],
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "admin@acme",
        "contexts": [{"name": "admin@acme", "context": {"cluster": "acme", "user": "admin"}}],
        "clusters": [{"name": "acme", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
    }
    file = checkout.state / "kube/acme.config"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(json.dumps(config))
    file.chmod(0o600)


def with_certificate(days: int) -> dict[str, str]:
    certificate, key = client_certificate(days)
    return {"client-certificate-data": certificate, "client-key-data": key}


def test_one_that_is_valid_for_long_or_has_no_certificate_stays(generated: Checkout) -> None:
    for user in (with_certificate(200), {"token": "a-token-of-a-service-account"}):
        store(generated, user)
        before = (generated.state / "kube/acme.config").read_bytes()
        answer = generated.guildnet("talos", "kubeconfig", "acme")
        assert answer.code == 0, answer.err
        assert "kept" in answer.err
        assert (generated.state / "kube/acme.config").read_bytes() == before


def test_one_that_ends_soon_is_asked_for_and_stays_until_it_comes(generated: Checkout) -> None:
    store(generated, with_certificate(10))
    listed = generated.guildnet("talos", "certs", "acme", "--check", "-o", "json")
    assert listed.code == 1
    ends = {each["certificate"]: each["daysLeft"] for each in json.loads(listed.out)}
    assert ends["kubeconfig"] in (9, 10)
    assert ends["talosconfig"] > 300
    before = (generated.state / "kube/acme.config").read_bytes()
    answer = generated.guildnet("talos", "kubeconfig", "acme")
    assert answer.code == 1
    assert "127.0.0.77" in answer.err
    assert (generated.state / "kube/acme.config").read_bytes() == before


def test_one_of_another_cluster_is_never_replaced_unasked(generated: Checkout) -> None:
    store(generated, with_certificate(200), authority=client_certificate(900)[0])
    answer = generated.guildnet("talos", "kubeconfig", "acme")
    assert answer.code == 1
    assert "the kubeconfig of another cluster" in answer.err
    assert "--force" in answer.err
