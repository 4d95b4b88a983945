"""The model endpoint that a start may use, as the operator wrote it into ``task.json``. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from guildnet.errors import ConfigurationError
from guildnet_agent.supervisor.model_gateway.ledger import Price
from guildnet_agent.supervisor.model_gateway.protocols import PROTOCOLS, ProtocolName


@dataclass(frozen=True)
class ModelEndpoint:
    """One of the org's models. ``names`` are the model names that may be asked for; ``key`` is
    the provider's. ``authorities`` are certificates (PEM) that sign the endpoint's, beside those
    of the system."""

    protocols: tuple[ProtocolName, ...]
    base_url: str
    names: tuple[str, ...]
    prices: Mapping[str, Price] = field(default_factory=dict)
    key: str = field(default="", repr=False)
    authorities: str | None = None


def parse_endpoint(
    value: Mapping[str, Any], key: str, authorities: str | None = None
) -> ModelEndpoint:
    """``value`` is an entry of the org's ``models``. ConfigurationError."""
    given = value.get("protocol")
    protocols = (given,) if isinstance(given, str) else tuple(given or ())
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown or not protocols:
        raise ConfigurationError(
            f"unknown model protocol: {', '.join(map(str, unknown)) or 'none given'}",
            place="models.protocol",
            cure=f"use one or more of: {', '.join(PROTOCOLS)}",
        )
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigurationError(
            "the model's Secret has no api-key that can be sent in a header",
            place="models.secret",
            cure="set it again with `guildnet secret set ORG NAME --use model --host HOST`",
        )
    if authorities:
        _check_authorities(authorities)
    prices = {name: _parse_price(price) for name, price in value.get("prices", {}).items()}
    return ModelEndpoint(
        protocols, value["baseURL"], tuple(value["names"]), prices, key, authorities
    )


def _check_authorities(text: str) -> None:
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            "ca.crt of the model's Secret does not contain certificates (PEM)",
            place="models.secret",
            cure="set it again: guildnet secret set ORG NAME --use model --key ca.crt < ca.pem",
        ) from error


def _parse_price(value: Mapping[str, Any]) -> Price:
    def number(name: str) -> Decimal | None:
        return Decimal(str(value[name])) if name in value else None

    return Price(
        input=number("input") or Decimal(0),
        output=number("output") or Decimal(0),
        cached_input=number("cachedInput"),
        cache_write=number("cacheWrite"),
    )
