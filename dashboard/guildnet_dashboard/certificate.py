"""A self-signed certificate for local development, created once and renewed before it expires."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from guildnet.state_folder import private_folder, write_private

_LIFETIME = timedelta(days=90)
_RENEW_BEFORE = timedelta(days=7)


def development_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Return the files (certificate, key) in `folder`, valid for loopback names and `host`.

    They are created or renewed as needed.
    """
    from cryptography import x509  # loads slowly, and few dashboards need it

    certificate, key = folder / f"{_file_name(host)}.crt", folder / f"{_file_name(host)}.key"
    if certificate.is_file() and key.is_file():
        current = x509.load_pem_x509_certificate(certificate.read_bytes())
        if current.not_valid_after_utc - _RENEW_BEFORE > datetime.now(UTC):
            return certificate, key
    private_folder(folder)
    _create(certificate, key, host)
    return certificate, key


def _create(certificate: Path, key: Path, host: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "GuildNet dashboard (development)")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    for address in dict.fromkeys(("127.0.0.1", "::1", host)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(key, pem)
    write_private(certificate, made.public_bytes(serialization.Encoding.PEM))


def _file_name(host: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in host)
