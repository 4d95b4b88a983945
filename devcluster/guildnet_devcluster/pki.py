"""Certificates and kubeconfigs; each cluster has its own certificate authority."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=365)
_SERVER_AND_CLIENT = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The files of a certificate and its private key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with its files in `folder`."""

    folder: Path

    @property
    def own(self) -> KeyPair:
        return KeyPair(self.folder / "ca.crt", self.folder / "ca.key")

    @classmethod
    def in_folder(cls, folder: Path) -> Authority:
        """The authority in `folder`, created if missing."""
        authority = cls(folder)
        if authority.own.certificate.exists():
            return authority
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "guildnet-devcluster")])
        draft = _draft(name, name, key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        _write_key(authority.own.key, key)
        _write(authority.own.certificate, _pem(draft.sign(key, hashes.SHA256())))
        return authority

    def issue(
        self, name: str, subject: str, groups: Sequence[str] = (), names: Sequence[str] = ()
    ) -> KeyPair:
        """Write NAME.crt and NAME.key for `subject` in `groups`.

        `names` are the DNS names and IPv4 addresses of a server.
        """
        ca = x509.load_pem_x509_certificate(self.own.certificate.read_bytes())
        ca_key = serialization.load_pem_private_key(self.own.key.read_bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        holder = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        holder.append(x509.NameAttribute(NameOID.COMMON_NAME, subject))
        draft = _draft(x509.Name(holder), ca.subject, key.public_key()).add_extension(
            x509.ExtendedKeyUsage(_SERVER_AND_CLIENT), critical=False
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(each) for each in names])
            draft = draft.add_extension(alternatives, critical=False)
        pair = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        _write_key(pair.key, key)
        _write(pair.certificate, _pem(draft.sign(ca_key, hashes.SHA256())))
        return pair

    def signing_key(self, name: str) -> KeyPair:
        """NAME.pub and NAME.key, an elliptic-curve key for signing tokens, created if missing."""
        pair = KeyPair(self.folder / f"{name}.pub", self.folder / f"{name}.key")
        if not pair.certificate.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            _write_key(pair.key, key)
            public = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            _write(pair.certificate, public)
        return pair


def kubeconfig(authority: Authority, user: KeyPair, server: str, name: str) -> str:
    """A self-contained kubeconfig (JSON, which is YAML) for `server`, a URL; context `name`."""
    parts = (authority.own.certificate, user.certificate, user.key)
    return kubeconfig_of(*(file.read_bytes() for file in parts), server=server, name=name)


def kubeconfig_of(
    authority: bytes, certificate: bytes, key: bytes, *, server: str, name: str
) -> str:
    """The same from the PEM of the server's authority, and of the user's certificate and key."""

    def inline(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    cluster = {"server": server, "certificate-authority-data": inline(authority)}
    credentials = {"client-certificate-data": inline(certificate), "client-key-data": inline(key)}
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": credentials}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(whole, indent=1) + "\n"


def write_private(file: Path, text: str) -> None:
    """Write `text` atomically to a file that only its owner can read."""
    _write(file, text.encode())


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Valid also for a clock that is a little behind.
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(IPv4Address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    _write(file, pem)


def _write(file: Path, content: bytes) -> None:
    scratch = file.with_name(file.name + ".new")
    scratch.touch(mode=0o600)
    scratch.write_bytes(content)
    scratch.replace(file)
