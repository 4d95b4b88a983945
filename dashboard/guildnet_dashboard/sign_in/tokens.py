"""Verifies JWTs that the provider signed. Pure.

The algorithm is one of a fixed list of asymmetric ones, and the key is of that algorithm's type:
neither `none` nor an HMAC with a public key passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt

from guildnet_dashboard.sign_in.errors import TokenRejected

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
CLOCK_SKEW = timedelta(seconds=60)
#: Entra's tokens with 200 groups have 8 KiB.
MAX_TOKEN_BYTES = 16 * 1024
MAX_KEYS = 100
_LATEST = 2**40
_REQUIRED = ["iss", "aud", "exp", "iat", "sub"]


class UnknownKey(TokenRejected):
    """No known key has the token's key ID: the provider may have a new key."""


@dataclass(frozen=True)
class KeySet:
    """The provider's public keys: JSON Web Keys of any kind, of which unusable ones are skipped."""

    keys: Sequence[Mapping[str, Any]]

    def key_of(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        """The key that a token's header names. Raises UnknownKey or TokenRejected."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise TokenRejected(f"the algorithm {str(algorithm)[:20]!r} is not accepted")
        usable = [key for key in self.keys if _can_verify(key, algorithm)]
        found = [key for key in usable if key.get("kid") == key_id] if key_id else usable
        if len(found) != 1:
            raise UnknownKey("no key of the provider, or more than one, fits the token")
        try:
            return jwt.PyJWK(dict(found[0]), algorithm)
        except Exception as error:  # cryptography's errors have no common base
            raise TokenRejected("the provider's key cannot be used for this token") from error


def key_set(document: Any) -> KeySet:
    """The keys in a JWK Set. Raises ValueError for anything else."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise ValueError(f"not a JSON Web Key Set of at most {MAX_KEYS} keys")
    return KeySet([key for key in keys if isinstance(key, dict)])


def header_of(token: str) -> Mapping[str, Any]:
    """The header of a JWT, which nothing has verified yet. Raises TokenRejected."""
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRejected(f"the token has more than {MAX_TOKEN_BYTES} characters")
    try:
        return jwt.get_unverified_header(token)
    except Exception as error:  # also UnicodeError, and RecursionError for nested JSON
        raise TokenRejected("not a JSON Web Token") from error


def verified_claims(token: str, keys: KeySet, *, issuer: str, audience: str) -> Mapping[str, Any]:
    """The claims of a token that the provider signed for `audience`, and that is valid now.

    Raises UnknownKey for a key that is not among `keys`, and TokenRejected for any other fault.
    """
    key = keys.key_of(header_of(token))
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=audience,
            issuer=issuer,
            leeway=CLOCK_SKEW,
            options={"require": _REQUIRED, "enforce_minimum_key_length": True},
        )
    except jwt.PyJWTError as error:
        raise TokenRejected(_reason(error)) from error
    except Exception as error:  # such as OverflowError for a time that is infinite
        raise TokenRejected("the token's claims are malformed") from error
    return claims


def expiry_of(claims: Mapping[str, Any]) -> float:
    """When verified claims end, in seconds since the epoch; numbers beyond any date are cut."""
    return float(min(int(claims["exp"]), _LATEST))


def check_id_token(claims: Mapping[str, Any], *, client_id: str, nonce: str) -> None:
    """Check what an ID token has besides (OpenID Connect Core, 3.1.3.7). Raises TokenRejected."""
    if claims.get("nonce") != nonce:
        raise TokenRejected("the ID token was issued for another sign-in: its nonce differs")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else client_id) != client_id:
        raise TokenRejected("the ID token was issued to another client")


_REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet; compare the clocks of both machines",
    jwt.InvalidAudienceError: "the token is meant for another audience",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.InvalidSignatureError: "the token's signature is wrong",
}


def _reason(error: jwt.PyJWTError) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token has no claim {error.claim!r}"
    return _REASONS.get(type(error), "the token is not valid")


def _can_verify(key: Mapping[str, Any], algorithm: str) -> bool:
    kind = {"R": "RSA", "P": "RSA", "E": "EC"}[algorithm[0]] if algorithm != "EdDSA" else "OKP"
    is_for_signing = key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
    return key.get("kty") == kind and is_for_signing
