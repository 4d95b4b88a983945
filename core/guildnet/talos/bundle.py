"""The secrets of a Talos cluster: the bundle that `talosctl gen secrets` writes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from guildnet.errors import ConfigurationError
from guildnet.redact import Redactor

MAX_BUNDLE_BYTES = 256 * 1024
_AUTHORITIES = ("os", "k8s", "etcd", "k8saggregator")


@dataclass(frozen=True, slots=True)
class SecretsBundle:
    """A bundle. `authorities` are the certificates (PEM) of the cluster's authorities by their
    names in the bundle: os (Talos' API), k8s, etcd, k8saggregator."""

    content: bytes = field(repr=False)
    authorities: dict[str, bytes]
    redact: Redactor = field(repr=False)

    @classmethod
    def parsed(cls, content: bytes, place: str) -> SecretsBundle:
        """The bundle in `content`. Raises ConfigurationError, which repeats nothing of it."""
        try:
            document = yaml.safe_load(content)
            authorities = {
                name: base64.b64decode(document["certs"][name]["crt"]) for name in _AUTHORITIES
            }
            values = [str(document["cluster"]["secret"]), *_leaves(document)]
        except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
            raise ConfigurationError(
                "not a bundle of Talos secrets",
                place=place,
                cure="Put the file back that `talosctl gen secrets` wrote, or recover it from a "
                "control plane's configuration: talosctl gen secrets --from-controlplane-config.",
            ) from None
        public = {base64.b64encode(pem).decode() for pem in authorities.values()}
        secret = [value for value in values if "".join(value.split()) not in public]
        return cls(content, authorities, Redactor([*secret, *_decoded(secret)]))


def read_bundle(path: Path) -> SecretsBundle | None:
    """The bundle in a file; None for a missing file. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BUNDLE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", place=str(path)) from error
    if len(content) > MAX_BUNDLE_BYTES:
        raise ConfigurationError(f"larger than {MAX_BUNDLE_BYTES:,} bytes", place=str(path))
    return SecretsBundle.parsed(content, str(path))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for below in value.values():
            yield from _leaves(below)
    elif isinstance(value, list):
        for below in value:
            yield from _leaves(below)
    elif isinstance(value, str):
        yield value


def _decoded(values: list[str]) -> Iterator[str]:
    """The PEM text of the keys, which lie in base64."""
    for value in values:
        try:
            yield base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            continue
