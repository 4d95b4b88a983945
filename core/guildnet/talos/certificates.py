"""When the certificates of a Talos cluster end. The only module here that reads X.509."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import yaml
from cryptography import x509

from guildnet.errors import ConfigurationError

RENEW_BEFORE = timedelta(days=30)
"""A certificate that ends within this time is renewed; Talos issues those of clients for a year."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate: what it is for, its end (UTC), and what renews it."""

    name: str
    end: datetime
    renewed_by: str

    def ends_soon(self, now: datetime) -> bool:
        return self.end - now < RENEW_BEFORE


def end_of(pem: bytes, place: str) -> datetime:
    """The end of the first certificate in a PEM text. Raises ConfigurationError."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError as error:
        raise ConfigurationError("not a certificate in PEM", place=place) from error


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What a talosconfig or a kubeconfig says of its own certificates, in PEM. `certificate` is
    None where the file logs in without one."""

    authority: bytes | None
    certificate: bytes | None
    endpoints: tuple[str, ...]


def talosconfig_credentials(content: bytes, place: str) -> ClientCredentials:
    """Those of the current context of a talosconfig. Raises ConfigurationError."""
    document = _mapping(content, place)
    try:
        context = document["contexts"][document["context"]]
        return ClientCredentials(
            _decoded(context["ca"]),
            _decoded(context["crt"]),
            tuple(map(str, context.get("endpoints") or ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigurationError("not a talosconfig", place=place) from None


def kubeconfig_credentials(content: bytes, place: str) -> ClientCredentials:
    """Those of a stored kubeconfig, which has one context. Raises ConfigurationError."""
    document = _mapping(content, place)
    try:
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        return ClientCredentials(
            _decoded(cluster.get("certificate-authority-data")),
            _decoded(user.get("client-certificate-data")),
            (str(cluster["server"]),),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise ConfigurationError("not a kubeconfig", place=place) from None


def _mapping(content: bytes, place: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError:
        document = None
    if not isinstance(document, dict):
        raise ConfigurationError("not a mapping in YAML", place=place)
    return document


def _decoded(text: Any) -> bytes | None:
    try:
        return base64.b64decode(str(text), validate=True) if text else None
    except binascii.Error as error:
        raise ValueError("not base64") from error
