"""When the credentials of a kubeconfig expire, as far as they say so themselves. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from guildnet.kube.kubeconfig_data import Access

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
"""Certificates without an end say 9999-12-31 (RFC 5280, 4.1.2.5)."""


def first_end(to: Access) -> datetime | None:
    """The first end of the authorities, the client certificate and the bearer token; None if no
    part can be read or none has an end."""
    authorities = (to.authorities or "").encode()
    ends = [*_of_certificates(authorities), *_of_certificates(to.certificate or b"")]
    scheme, _, token = (to.authorization or "").partition(" ")
    of_token = _of_token(token) if scheme == "Bearer" else None
    found = [end for end in (*ends, of_token) if end is not None and end.date() < _NEVER.date()]
    return min(found, default=None)


def _of_certificates(pem: bytes) -> Iterator[datetime]:
    for block in _PEM.findall(pem):
        try:
            yield _not_after(base64.b64decode(block))
        except (binascii.Error, ValueError, IndexError):
            continue


def _of_token(token: str) -> datetime | None:
    """The `exp` of a JSON Web Token, which is what service accounts use."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(int(claims["exp"]), UTC)
    except (ValueError, LookupError, TypeError, OverflowError, OSError, RecursionError):
        return None


def _not_after(der: bytes) -> datetime:
    """`notAfter` of a DER certificate (RFC 5280). Raises ValueError or IndexError for others."""
    (_, certificate), *_ = _elements(der)
    (_, to_be_signed), *_ = _elements(certificate)
    fields = [field for field in _elements(to_be_signed) if field[0] != _VERSION]
    tag, validity = fields[3]  # after serialNumber, signature, issuer
    if tag != _SEQUENCE:
        raise ValueError("validity is missing")
    _, (kind, text) = _elements(validity)
    return _time(kind, text.decode("ascii"))


def _time(kind: int, text: str) -> datetime:
    if kind == _UTC_TIME:
        century = "20" if int(text[:2]) < 50 else "19"
        text = century + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The tags and contents of the DER elements in `data`, one after the other."""
    found = []
    while data:
        tag, size, start = data[0], data[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            raise ValueError("truncated")
        found.append((tag, data[start : start + size]))
        data = data[start + size :]
    return found
