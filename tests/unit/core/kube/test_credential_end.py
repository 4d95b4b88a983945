"""When a kubeconfig's credentials end, as its certificates and its token say."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from guildnet.kube.credential_end import first_end
from guildnet.kube.kubeconfig_data import Access

START = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(ends: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=START,
        not_valid_after=ends,
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"Bearer header.{body}.signature"


def access(**fields: object) -> Access:
    return Access("context", "agents", "https://server", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("year", [2027, 2049, 2050, 2130])
def test_the_client_certificate(year: int) -> None:
    """From 2050 on, certificates write their times in another form."""
    end = datetime(year, 5, 4, 3, 2, 1, tzinfo=UTC)
    assert first_end(access(certificate=certificate(end))) == end


def test_the_first_of_all_parts() -> None:
    later, sooner = START + timedelta(days=900), START + timedelta(days=400)
    both = (certificate(later) + certificate(sooner)).decode()
    assert first_end(access(certificate=certificate(later), authorities=both)) == sooner
    exp = START + timedelta(days=3)
    found = first_end(access(authorities=both, authorization=token({"exp": exp.timestamp()})))
    assert found == exp


def test_a_certificate_without_an_end_says_so_with_the_year_9999() -> None:
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert first_end(access(certificate=certificate(never))) is None


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer opaque",
        "Basic eDp5",
        token({}),
        token([]),
        token({"exp": "soon"}),
        token({"exp": 1e99}),
    ],
)
def test_what_names_no_end(authorization: str) -> None:
    assert first_end(access(authorization=authorization)) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----" % base64.b64encode(body)
    first_end(access(certificate=pem))
